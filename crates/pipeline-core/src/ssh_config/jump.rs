//! `ProxyJump`: the hops to a host, and the whole route.

use super::line::port;
use super::tokens::Tokens;
use super::{HostParams, SshConfig, SshConfigError};

/// More hops than this are a mistake.
const MAX_HOPS: usize = 16;

/// The value of `ProxyJump`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Jump {
    /// `none`: connect directly, whatever later lines say.
    None,
    /// First hop first.
    Hops(Vec<Hop>),
}

/// One hop as written: `[user@]host[:port]` or `ssh://[user@]host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Login; none: the hop's own entry says.
    pub user: Option<String>,
    /// Alias or address, looked up in the config like any other. May hold tokens.
    pub host: String,
    /// Port; none: the hop's own entry says.
    pub port: Option<u16>,
}

impl Hop {
    /// Reads `[user@]host[:port]`.
    pub fn parse(text: &str) -> Option<Hop> {
        hop(text)
    }
}

/// Reads the rest of a `ProxyJump` line.
pub(super) fn parse(text: &str) -> Result<Jump, String> {
    // Unlike other keywords, this one takes the line as it is: a '#' ends it anywhere, quotes mean nothing.
    let text = text.split('#').next().unwrap_or_default().trim_end();
    if text.eq_ignore_ascii_case("none") {
        return Ok(Jump::None);
    }
    let hops: Option<Vec<Hop>> = text.split(',').map(hop).collect();
    hops.map(Jump::Hops).ok_or_else(|| format!("'{text}' is not a list of hops for ProxyJump"))
}

fn hop(text: &str) -> Option<Hop> {
    let uri = text.strip_prefix("ssh://");
    let text = uri.map_or(text, |rest| rest.strip_suffix('/').unwrap_or(rest));
    let (user, address) = match text.rsplit_once('@') {
        Some((user, address)) => (Some(if uri.is_some() { percent_decoded(user)? } else { user.to_owned() }), address),
        None => (None, text),
    };
    let (host, after) = match address.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => address.split_at(address.find(':').unwrap_or(address.len())),
    };
    let port = match after.strip_prefix(':') {
        Some(digits) => Some(port(digits).ok()?),
        None if after.is_empty() => None,
        None => return None,
    };
    let bad = |part: &str| part.is_empty() || part.contains([' ', '\t', '/']);
    if bad(host) || user.as_deref().is_some_and(bad) {
        return None;
    }
    Some(Hop { user, host: host.to_owned(), port })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(rest.next()?)? * 16 + digit(rest.next()?)?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

impl SshConfig {
    /// The hosts to pass through to reach `alias`, first hop first, `alias` itself last.
    ///
    /// Goes as `ssh` does: of several hops in one `ProxyJump` the first is reached as its own entry says and each other through
    /// the one before it.
    pub fn route(&self, alias: &str) -> Result<Vec<HostParams>, SshConfigError> {
        // From the far end: each round finds what comes before `target`.
        let mut target = self.resolve(alias)?;
        let mut given: Vec<Hop> = Vec::new();
        let mut route = Vec::new();
        loop {
            if given.is_empty() {
                if target.proxy_command.is_some() {
                    return Err(SshConfigError::ProxyCommand { alias: target.alias });
                }
                let tokens = Tokens::of(&target, &self.surroundings);
                given = target.proxy_jump.iter().map(|hop| tokens.expand_hop(hop)).collect::<Result<_, _>>()?;
            }
            let Some(hop) = given.pop() else { break };
            let next = self.resolve_as(&hop.host, hop.user.as_deref(), hop.port)?;
            let same = |host: &HostParams| host.alias == next.alias && host.port == next.port && host.user == next.user;
            if route.len() >= MAX_HOPS || same(&target) || route.iter().any(same) {
                return Err(SshConfigError::JumpLoop { alias: alias.to_owned(), hop: hop.host });
            }
            route.push(std::mem::replace(&mut target, next));
        }
        route.push(target);
        route.reverse();
        Ok(route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(user: Option<&str>, host: &str, port: Option<u16>) -> Hop {
        Hop { user: user.map(str::to_owned), host: host.to_owned(), port }
    }

    #[test]
    fn hops() {
        let table: [(&str, Vec<Hop>); 9] = [
            ("b", vec![plain(None, "b", None)]),
            ("a@b:22,d", vec![plain(Some("a"), "b", Some(22)), plain(None, "d", None)]),
            ("b # the bastion", vec![plain(None, "b", None)]),
            ("[::1]:22", vec![plain(None, "::1", Some(22))]),
            ("[::1]", vec![plain(None, "::1", None)]),
            ("a@b@c:9", vec![plain(Some("a@b"), "c", Some(9))]),
            ("ssh://u@c:24", vec![plain(Some("u"), "c", Some(24))]),
            ("ssh://u%41@c:24/", vec![plain(Some("uA"), "c", Some(24))]),
            ("%r@b", vec![plain(Some("%r"), "b", None)]),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), Ok(Jump::Hops(expected)), "{text}");
        }
        assert_eq!(parse("NONE"), Ok(Jump::None));
    }

    #[test]
    fn what_is_not_a_hop() {
        for text in
            ["a, b", "a,,b", "::1", "a:x", "a:0", "@b", "a@", "[::1", "[::1]x", "ssh://b/path", "ssh://%4@b", ""]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
