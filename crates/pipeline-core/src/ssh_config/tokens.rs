//! `%` tokens, `${NAME}` and `~` in the values of an OpenSSH config.

use std::borrow::Cow;
use std::path::PathBuf;

use super::jump::Hop;
use super::{HostParams, SshConfigError};
use crate::config::Surroundings;

/// What the tokens stand for, for one host.
pub(super) struct Tokens<'a> {
    pub alias: &'a str,
    pub hostname: &'a str,
    pub port: u16,
    pub user: &'a str,
    pub host_key_alias: Option<&'a str>,
    pub surroundings: &'a Surroundings,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(host: &'a HostParams, surroundings: &'a Surroundings) -> Tokens<'a> {
        Tokens {
            alias: &host.alias,
            hostname: &host.hostname,
            port: host.port,
            user: &host.user,
            host_key_alias: host.host_key_alias.as_deref(),
            surroundings,
        }
    }

    /// A path: `~`, then every token and `${NAME}`.
    pub(super) fn expand_path(&self, keyword: &'static str, value: &str) -> Result<PathBuf, SshConfigError> {
        let fail = |problem| self.error(keyword, value, problem);
        let path = self.expand_home(keyword, value)?;
        let path = path.to_str().ok_or_else(|| fail("the home directory is not UTF-8".into()))?;
        let with_env = expand_env(path, self.surroundings).map_err(fail)?;
        let expanded = expand(&with_env, "dhiknpru", |token| self.value(token)).map_err(fail)?;
        Ok(PathBuf::from(expanded))
    }

    /// A path where only `~` is expanded.
    pub(super) fn expand_home(&self, keyword: &'static str, value: &str) -> Result<PathBuf, SshConfigError> {
        self.surroundings
            .expand_home(value)
            .ok_or_else(|| self.error(keyword, value, "another user's home ('~name') is not supported".into()))
    }

    /// A hop of `ProxyJump`, seen from the host that it leads to.
    pub(super) fn expand_hop(&self, hop: &Hop) -> Result<Hop, SshConfigError> {
        let expand = |text: &str| {
            expand(text, "hnpr", |token| self.value(token)).map_err(|problem| self.error("ProxyJump", text, problem))
        };
        Ok(Hop { user: hop.user.as_deref().map(expand).transpose()?, host: expand(&hop.host)?, port: hop.port })
    }

    fn value(&self, token: char) -> Cow<'_, str> {
        match token {
            'd' => self.surroundings.home.to_string_lossy(),
            'h' => self.hostname.into(),
            'i' => self.surroundings.uid.to_string().into(),
            'k' => self.host_key_alias.unwrap_or(self.alias).into(),
            'n' => self.alias.into(),
            'p' => self.port.to_string().into(),
            'r' => self.user.into(),
            _ => self.surroundings.user.as_str().into(),
        }
    }

    fn error(&self, keyword: &'static str, value: &str, problem: String) -> SshConfigError {
        SshConfigError::Token { alias: self.alias.to_owned(), keyword, value: value.to_owned(), problem }
    }
}

/// Replaces `%%` and the tokens in `allowed`.
pub(super) fn expand<'v>(text: &str, allowed: &str, value: impl Fn(char) -> Cow<'v, str>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            expanded.push(c);
            continue;
        }
        match chars.next() {
            Some('%') => expanded.push('%'),
            Some(token) if allowed.contains(token) => expanded.push_str(&value(token)),
            Some(token) => return Err(format!("the token %{token} has no value here")),
            None => return Err("a single % at the end".into()),
        }
    }
    Ok(expanded)
}

fn expand_env(text: &str, surroundings: &Surroundings) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or("'${' is not closed")?;
        let value = surroundings.env.get(name).ok_or_else(|| format!("the environment has no {name}"))?;
        expanded.push_str(before);
        // A value is taken as it is: its own '%' is no token.
        expanded.push_str(&value.replace('%', "%%"));
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}
