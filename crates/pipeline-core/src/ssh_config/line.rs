//! One line of an OpenSSH config: words, keyword, checked arguments.
//!
//! Follows OpenSSH's own reading: `keyword value`, `keyword=value`, quotes, `#` at the start of a word. Keywords that do not
//! bear on how a host is reached are passed over, so that a newer OpenSSH's are too.

use super::jump::{self, Jump};

const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// What a line says.
#[derive(Clone, Debug)]
pub(super) enum Directive {
    /// `Host`: patterns, some behind `!`.
    Host(Vec<String>),
    /// `Match`: all criteria must hold.
    Match(Vec<Criterion>),
    /// `Include`: patterns of files.
    Include(Vec<String>),
    /// A value.
    Set(Setting),
    /// Something that changes how hosts are reached and is not followed.
    Ignored(&'static str),
}

/// The values that are read.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    HostName(String),
    Port(u16),
    User(String),
    IdentityFile(String),
    IdentitiesOnly(bool),
    IdentityAgent(String),
    ProxyJump(Jump),
    ProxyCommand(String),
    UserKnownHostsFile(Vec<String>),
    GlobalKnownHostsFile(Vec<String>),
    HostKeyAlias(String),
}

/// One criterion of a `Match` line.
#[derive(Clone, Debug)]
pub(super) struct Criterion {
    pub negated: bool,
    pub test: Test,
}

impl Criterion {
    /// `all`.
    pub fn always_holds(&self) -> bool {
        !self.negated && matches!(self.test, Test::All)
    }

    /// Whether it asks for this host, by its name and no pattern.
    pub fn names(&self, alias: &str) -> bool {
        match &self.test {
            Test::Host(list) | Test::OriginalHost(list) => {
                !self.negated && list.split(',').any(|pattern| pattern == alias)
            }
            _ => false,
        }
    }
}

/// What a criterion asks.
#[derive(Clone, Debug)]
pub(super) enum Test {
    All,
    /// `final` or `canonical`: the second pass.
    SecondPass {
        requests: bool,
    },
    Host(String),
    OriginalHost(String),
    User(String),
    LocalUser(String),
    /// Would need a command to be run, or something that only the running ssh knows.
    Undecidable(String),
}

/// Reads a line. None: blank, a comment, or a keyword of no concern here.
pub(super) fn parse(line: &str) -> Result<Option<Directive>, String> {
    let line = line.trim_matches([' ', '\t', '\r', '\n', '\x0c']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let mut rest = line;
    let keyword = delimited(&mut rest)?;
    // OpenSSH spells keywords without regard to case.
    let name = keyword.to_ascii_lowercase();
    let directive = match name.as_str() {
        "match" => return Ok(Some(Directive::Match(criteria(rest)?))),
        "proxyjump" => Directive::Set(Setting::ProxyJump(jump::parse(&some(&keyword, rest)?)?)),
        "proxycommand" => Directive::Set(Setting::ProxyCommand(some(&keyword, rest)?)),
        "host" => Directive::Host(many(&keyword, rest)?),
        "include" => Directive::Include(many(&keyword, rest)?),
        "userknownhostsfile" => Directive::Set(Setting::UserKnownHostsFile(files(&keyword, rest)?)),
        "globalknownhostsfile" => Directive::Set(Setting::GlobalKnownHostsFile(files(&keyword, rest)?)),
        "hostname" => Directive::Set(Setting::HostName(one(&keyword, rest)?)),
        "user" => Directive::Set(Setting::User(one(&keyword, rest)?)),
        "identityfile" => Directive::Set(Setting::IdentityFile(one(&keyword, rest)?)),
        "identityagent" => Directive::Set(Setting::IdentityAgent(one(&keyword, rest)?)),
        "hostkeyalias" => Directive::Set(Setting::HostKeyAlias(one(&keyword, rest)?)),
        "port" => Directive::Set(Setting::Port(port(&one(&keyword, rest)?)?)),
        "identitiesonly" => match one(&keyword, rest)?.to_ascii_lowercase().as_str() {
            "yes" | "true" => Directive::Set(Setting::IdentitiesOnly(true)),
            "no" | "false" => Directive::Set(Setting::IdentitiesOnly(false)),
            other => return Err(format!("{keyword} is yes or no, not '{other}'")),
        },
        "canonicalizehostname" => match one(&keyword, rest)?.to_ascii_lowercase().as_str() {
            "no" | "false" => return Ok(None),
            _ => Directive::Ignored("CanonicalizeHostname"),
        },
        _ => return Ok(None),
    };
    Ok(Some(directive))
}

/// Reads a port number, 1 to 65535.
pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|&port| port > 0).ok_or_else(|| format!("'{text}' is not a port"))
}

fn some(keyword: &str, rest: &str) -> Result<String, String> {
    if rest.is_empty() { Err(format!("{keyword} has no argument")) } else { Ok(rest.to_owned()) }
}

fn many(keyword: &str, rest: &str) -> Result<Vec<String>, String> {
    let words = words(rest)?;
    if words.is_empty() || words.iter().any(String::is_empty) {
        return Err(format!("{keyword} has an empty argument"));
    }
    Ok(words)
}

fn one(keyword: &str, rest: &str) -> Result<String, String> {
    let mut words = many(keyword, rest)?;
    match words.len() {
        1 => Ok(words.remove(0)),
        _ => Err(format!("{keyword} takes one argument, and '{}' is a second", words[1])),
    }
}

fn files(keyword: &str, rest: &str) -> Result<Vec<String>, String> {
    let words = many(keyword, rest)?;
    if words.len() > 1 && words.iter().any(|word| word.eq_ignore_ascii_case("none")) {
        return Err(format!("{keyword}: 'none' must stand alone"));
    }
    Ok(words)
}

/// Takes the first word off, as OpenSSH does for keywords and for `Match`: up to a blank or one `=`; quotes in double quotes.
fn delimited(rest: &mut &str) -> Result<String, String> {
    let text = *rest;
    let Some(at) = text.find([' ', '\t', '\r', '\n', '"', '=']) else {
        *rest = "";
        return Ok(text.to_owned());
    };
    let (word, after) = (&text[..at], &text[at + 1..]);
    if text[at..].starts_with('"') {
        let (quoted, after) = after.split_once('"').ok_or("a quote is not closed")?;
        *rest = after.trim_start_matches(BLANK);
        return Ok(format!("{word}{quoted}"));
    }
    let after = after.trim_start_matches(BLANK);
    *rest = match after.strip_prefix('=') {
        Some(after) if !text[at..].starts_with('=') => after.trim_start_matches(BLANK),
        _ => after,
    };
    Ok(word.to_owned())
}

/// Splits arguments: blanks between words, single and double quotes, a few backslash escapes, `#` ends.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        match chars.peek() {
            None | Some('#') => return Ok(words),
            Some(_) => {}
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(c) = chars.next() {
            match (c, quote) {
                ('\\', _) => {
                    match chars.next_if(|&c| matches!(c, '\'' | '"' | '\\') || (c == ' ' && quote.is_none())) {
                        Some(escaped) => word.push(escaped),
                        None => word.push('\\'),
                    }
                }
                (' ' | '\t', None) => break,
                ('"' | '\'', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                (c, _) => word.push(c),
            }
        }
        if quote.is_some() {
            return Err("a quote is not closed".into());
        }
        words.push(word);
    }
}

/// Reads the criteria of a `Match` line.
fn criteria(mut rest: &str) -> Result<Vec<Criterion>, String> {
    let mut criteria: Vec<Criterion> = Vec::new();
    while !rest.is_empty() && !rest.starts_with('#') {
        let word = delimited(&mut rest)?;
        let (negated, name) = match word.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, word.as_str()),
        };
        let name = name.to_ascii_lowercase();
        let test = match name.as_str() {
            "all" => {
                // Meant for 'canonical all' and 'final all'; OpenSSH takes any one criterion before it.
                if criteria.len() > 1 || !(rest.is_empty() || rest.starts_with('#')) {
                    return Err("'Match all' can't be combined with other criteria".into());
                }
                Test::All
            }
            "final" => Test::SecondPass { requests: true },
            "canonical" => Test::SecondPass { requests: false },
            "host" => Test::Host(argument(&name, &mut rest)?),
            "originalhost" => Test::OriginalHost(argument(&name, &mut rest)?),
            "user" => Test::User(argument(&name, &mut rest)?),
            "localuser" => Test::LocalUser(argument(&name, &mut rest)?),
            "exec" | "localnetwork" | "tagged" | "sessiontype" | "command" | "version" => {
                argument(&name, &mut rest)?;
                Test::Undecidable(name)
            }
            _ => return Err(format!("'{name}' is not a criterion of Match")),
        };
        criteria.push(Criterion { negated, test });
    }
    if criteria.is_empty() { Err("Match has no criteria".into()) } else { Ok(criteria) }
}

fn argument(name: &str, rest: &mut &str) -> Result<String, String> {
    if rest.is_empty() || rest.starts_with('#') {
        return Err(format!("'Match {name}' has no argument"));
    }
    let word = delimited(rest)?;
    if word.is_empty() { Err(format!("'Match {name}' has no argument")) } else { Ok(word) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn arguments_are_split_as_openssh_does() {
        let table: [(&str, &[&str]); 9] = [
            ("a b", &["a", "b"]),
            ("a\t b  ", &["a", "b"]),
            (r#""a b" c"#, &["a b", "c"]),
            (r#"a" b"c"#, &["a bc"]),
            (r"'a b'", &["a b"]),
            (r"a\ b", &["a b"]),
            (r#""a\"b""#, &["a\"b"]),
            (r"a\nb", &[r"a\nb"]),
            ("a#b # c", &["a#b"]),
        ];
        for (text, expected) in table {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        assert!(words("'a").is_err());
    }

    #[test]
    fn keywords_end_at_a_blank_or_one_equals_sign() {
        let table = [
            ("Port 22", "Port", "22"),
            ("Port=22", "Port", "22"),
            ("Port = 22", "Port", "22"),
            ("Port= 22", "Port", "22"),
            ("Port = =22", "Port", "=22"),
            ("Port\t22", "Port", "22"),
            ("\"Port\" 22", "Port", "22"),
            ("Port", "Port", ""),
        ];
        for (text, keyword, expected) in table {
            let mut rest = text;
            assert_eq!(delimited(&mut rest).unwrap(), keyword, "{text}");
            assert_eq!(rest, expected, "{text}");
        }
    }

    #[test]
    fn lines_that_openssh_refuses() {
        let table = [
            ("HostName", "HostName has an empty argument"),
            ("HostName \"\"", "HostName has an empty argument"),
            ("HostName a b", "HostName takes one argument, and 'b' is a second"),
            ("HostName 'a", "a quote is not closed"),
            ("Port 0", "'0' is not a port"),
            ("Port 65536", "'65536' is not a port"),
            ("port ssh2", "'ssh2' is not a port"),
            ("IdentitiesOnly maybe", "IdentitiesOnly is yes or no, not 'maybe'"),
            ("UserKnownHostsFile none a", "UserKnownHostsFile: 'none' must stand alone"),
            ("Host", "Host has an empty argument"),
            ("Include # nothing", "Include has an empty argument"),
            ("ProxyJump", "ProxyJump has no argument"),
            ("Match", "Match has no criteria"),
            ("Match host", "'Match host' has no argument"),
            ("Match moon full", "'moon' is not a criterion of Match"),
            ("Match all host a", "'Match all' can't be combined with other criteria"),
            ("Match host a user b all", "'Match all' can't be combined with other criteria"),
        ];
        for (line, problem) in table {
            assert_eq!(parse(line).unwrap_err(), problem, "{line}");
        }
    }

    #[test]
    fn lines_of_no_concern() {
        for line in ["", "  ", "# Port x", "ForwardAgent yes", "CanonicalizeHostname no", "FromTheFuture 1 2 3"] {
            assert!(parse(line).unwrap().is_none(), "{line}");
        }
    }
}
