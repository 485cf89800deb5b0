//! An alias to parameters: first value wins, two passes where `Match final` asks for a second.

use std::net::IpAddr;
use std::path::PathBuf;

use super::jump::{Hop, Jump};
use super::line::{Criterion, Setting, Test};
use super::pattern::{matches, matches_host_list, matches_list};
use super::read::{Line, Step};
use super::tokens::{Tokens, expand};
use super::{HostParams, SshConfig, SshConfigError};

/// OpenSSH's own, without the kinds that libssh2 can't use.
const DEFAULT_IDENTITIES: [&str; 3] = ["~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519"];
const DEFAULT_USER_FILES: [&str; 2] = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"];
const DEFAULT_GLOBAL_FILES: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];
const DEFAULT_PORT: u16 = 22;

impl SshConfig {
    /// What an alias stands for. An alias that no line names gets the defaults, as with `ssh`: see [`names`](Self::names).
    pub fn resolve(&self, alias: &str) -> Result<HostParams, SshConfigError> {
        self.resolve_as(alias, None, None)
    }

    /// The same where the caller already knows login or port, as `ssh -l -p` does.
    pub(super) fn resolve_as(
        &self,
        alias: &str,
        user: Option<&str>,
        port: Option<u16>,
    ) -> Result<HostParams, SshConfigError> {
        let mut found = Found { user: user.map(str::to_owned), port, ..Found::default() };
        self.pass(alias, alias, false, &mut found)?;
        let hostname = found.current_hostname(alias)?;
        let hostname = match hostname.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => hostname.to_lowercase(),
        };
        if self.files.iter().any(|file| asks_for_second_pass(file)) {
            found.hostname = Some(hostname.clone());
            self.pass(&hostname, alias, true, &mut found)?;
        }
        self.finish(alias, hostname, found)
    }

    fn pass(&self, host: &str, alias: &str, second: bool, found: &mut Found) -> Result<(), SshConfigError> {
        let pass = Pass { host, alias, local_user: &self.surroundings.user, second };
        self.files.iter().try_for_each(|file| pass.file(file, true, found))
    }

    fn finish(&self, alias: &str, hostname: String, found: Found) -> Result<HostParams, SshConfigError> {
        let user = found.user.unwrap_or_else(|| self.surroundings.user.clone());
        let port = found.port.unwrap_or(DEFAULT_PORT);
        let tokens = Tokens {
            alias,
            hostname: &hostname,
            port,
            user: &user,
            host_key_alias: found.host_key_alias.as_deref(),
            surroundings: &self.surroundings,
        };
        let given = |files: Vec<String>, defaults: &[&str]| match files.as_slice() {
            [] => defaults.iter().map(|&file| file.to_owned()).collect(),
            [none] if none.eq_ignore_ascii_case("none") => Vec::new(),
            _ => files,
        };
        let default_identities = found.identity_files.is_empty();
        let identity_files = given(found.identity_files, &DEFAULT_IDENTITIES)
            .iter()
            .filter(|file| !file.eq_ignore_ascii_case("none"))
            .map(|file| tokens.expand_path("IdentityFile", file))
            .collect::<Result<_, _>>()?;
        let user_known_hosts_files = given(found.user_known_hosts_files, &DEFAULT_USER_FILES)
            .iter()
            .map(|file| tokens.expand_path("UserKnownHostsFile", file))
            .collect::<Result<_, _>>()?;
        let global_known_hosts_files = given(found.global_known_hosts_files, &DEFAULT_GLOBAL_FILES)
            .iter()
            .map(|file| tokens.expand_home("GlobalKnownHostsFile", file))
            .collect::<Result<_, _>>()?;
        let identity_agent = self.identity_agent(found.identity_agent.as_deref(), &tokens)?;
        let (proxy_jump, proxy_command) = match found.proxy {
            Some(Proxy::Jump(hops)) => (hops, None),
            Some(Proxy::Command(command)) => (Vec::new(), Some(command)),
            Some(Proxy::None) | None => (Vec::new(), None),
        };
        Ok(HostParams {
            alias: alias.to_owned(),
            port,
            identity_files,
            default_identities,
            identities_only: found.identities_only.unwrap_or(false),
            identity_agent,
            user_known_hosts_files,
            global_known_hosts_files,
            proxy_jump,
            proxy_command,
            host_key_alias: found.host_key_alias,
            hostname,
            user,
        })
    }

    fn identity_agent(&self, value: Option<&str>, tokens: &Tokens<'_>) -> Result<Option<PathBuf>, SshConfigError> {
        let variable = |name: &str| self.surroundings.env.get(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        match value {
            Some("none") => Ok(None),
            None | Some("SSH_AUTH_SOCK") => Ok(variable("SSH_AUTH_SOCK")),
            Some(value) => match value.strip_prefix('$').filter(|name| !name.starts_with('{')) {
                Some(name) => Ok(variable(name)),
                None => tokens.expand_path("IdentityAgent", value).map(Some),
            },
        }
    }
}

fn asks_for_second_pass(lines: &[Line]) -> bool {
    lines.iter().any(|line| match &line.step {
        Step::Match(criteria) => criteria.iter().any(|c| matches!(c.test, Test::SecondPass { requests: true })),
        Step::Include(files) => files.iter().any(|file| asks_for_second_pass(file)),
        Step::Host(_) | Step::Set(_) => false,
    })
}

/// Whether a `Host` line holds: one pattern does, and none of those behind `!`.
pub(super) fn host_line_matches(patterns: &[String], host: &str) -> bool {
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(negated) if matches(host, negated) => return false,
            Some(_) => {}
            None => found |= matches(host, pattern),
        }
    }
    found
}

/// Values so far. Only the first for each keyword is kept; `IdentityFile` collects.
#[derive(Default)]
struct Found {
    hostname: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    identity_files: Vec<String>,
    identities_only: Option<bool>,
    identity_agent: Option<String>,
    /// One value for two keywords: the first of `ProxyJump` and `ProxyCommand` rules out the other.
    proxy: Option<Proxy>,
    user_known_hosts_files: Vec<String>,
    global_known_hosts_files: Vec<String>,
    host_key_alias: Option<String>,
}

enum Proxy {
    None,
    Jump(Vec<Hop>),
    Command(String),
}

impl Found {
    fn set(&mut self, setting: &Setting) {
        match setting {
            Setting::HostName(value) => first(&mut self.hostname, value),
            Setting::Port(value) => first(&mut self.port, value),
            Setting::User(value) => first(&mut self.user, value),
            Setting::IdentityFile(value) if self.identity_files.contains(value) => {}
            Setting::IdentityFile(value) => self.identity_files.push(value.clone()),
            Setting::IdentitiesOnly(value) => first(&mut self.identities_only, value),
            Setting::IdentityAgent(value) => first(&mut self.identity_agent, value),
            Setting::HostKeyAlias(value) => first(&mut self.host_key_alias, value),
            Setting::UserKnownHostsFile(files) if self.user_known_hosts_files.is_empty() => {
                self.user_known_hosts_files.clone_from(files);
            }
            Setting::GlobalKnownHostsFile(files) if self.global_known_hosts_files.is_empty() => {
                self.global_known_hosts_files.clone_from(files);
            }
            Setting::UserKnownHostsFile(_) | Setting::GlobalKnownHostsFile(_) => {}
            Setting::ProxyJump(jump) => {
                self.proxy.get_or_insert_with(|| match jump {
                    Jump::None => Proxy::None,
                    Jump::Hops(hops) => Proxy::Jump(hops.clone()),
                });
            }
            Setting::ProxyCommand(command) => {
                self.proxy.get_or_insert_with(|| match command.as_str() {
                    "none" => Proxy::None,
                    _ => Proxy::Command(command.clone()),
                });
            }
        }
    }

    /// The host name as it stands in the middle of the reading; `Match host` sees it too.
    fn current_hostname(&self, alias: &str) -> Result<String, SshConfigError> {
        let Some(hostname) = &self.hostname else { return Ok(alias.to_owned()) };
        expand(hostname, "h", |_| alias.into()).map_err(|problem| SshConfigError::Token {
            alias: alias.to_owned(),
            keyword: "HostName",
            value: hostname.clone(),
            problem,
        })
    }
}

fn first<T: Clone>(slot: &mut Option<T>, value: &T) {
    slot.get_or_insert_with(|| value.clone());
}

/// One reading of all lines for one host.
struct Pass<'a> {
    /// What `Host` lines are compared with: the alias; in the second pass the host name.
    host: &'a str,
    alias: &'a str,
    local_user: &'a str,
    second: bool,
}

impl Pass<'_> {
    /// Goes through one file. Inside an `Include` that does not count, nothing does.
    fn file(&self, lines: &[Line], counts: bool, found: &mut Found) -> Result<(), SshConfigError> {
        let mut active = counts;
        for line in lines {
            match &line.step {
                Step::Host(patterns) => active = counts && host_line_matches(patterns, self.host),
                Step::Match(criteria) => active = counts && self.holds(criteria, line, found)?,
                Step::Include(files) => files.iter().try_for_each(|file| self.file(file, active, found))?,
                Step::Set(setting) if active => found.set(setting),
                Step::Set(_) => {}
            }
        }
        Ok(())
    }

    fn holds(&self, criteria: &[Criterion], line: &Line, found: &Found) -> Result<bool, SshConfigError> {
        let hostname = match (self.second, &found.hostname) {
            (true, Some(hostname)) => hostname.clone(),
            _ => found.current_hostname(self.alias)?,
        };
        let user = found.user.as_deref().unwrap_or(self.local_user);
        let mut undecidable = None;
        for criterion in criteria {
            let holds = match &criterion.test {
                Test::All => true,
                Test::SecondPass { .. } => self.second,
                Test::Host(list) => matches_host_list(&hostname, list),
                Test::OriginalHost(list) => matches_host_list(self.alias, list),
                Test::User(list) => matches_list(user, list),
                Test::LocalUser(list) => matches_list(self.local_user, list),
                Test::Undecidable(name) => {
                    undecidable = Some(name);
                    continue;
                }
            };
            if holds == criterion.negated {
                return Ok(false);
            }
        }
        match undecidable {
            None => Ok(true),
            Some(criterion) => Err(SshConfigError::Match {
                file: line.file.to_path_buf(),
                line: line.number,
                criterion: criterion.clone(),
                alias: self.alias.to_owned(),
            }),
        }
    }
}
