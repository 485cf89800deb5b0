//! The dead-man's switch: somebody elsewhere who raises the alarm when a run fails, or when no run is heard of for too long.
//!
//! Speaks as <https://healthchecks.io/docs/http_api/> has it: `URL/start` when a run begins, the URL itself when it has done its
//! work, `URL/fail` when it has not. Guarantees that no call takes longer than it may, and that the URL, which is
//! as good as a password, gets into no message. Leaves to others: when to call, and that a failure to call is none of the run.

use std::time::Duration;

use pipeline_core::error::describe;
use program::exit::Exit;
use program::failure::Failure;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

/// Bounds on waiting.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until the connection stands.
    pub connect: Duration,
    /// From the first look-up of the name to the answer, at the start of a run: its end waits for what is left of that.
    pub start: Duration,
    /// So long the end of a run waits at most, for both calls.
    pub overall: Duration,
}

/// A switch that says nothing holds up the end of a run for ten seconds, however short the run was.
pub const LIMITS: Limits =
    Limits { connect: Duration::from_secs(4), start: Duration::from_secs(4), overall: Duration::from_secs(10) };

/// A switch, by its URL.
#[derive(Debug)]
pub struct Ping {
    agent: Agent,
    url: String,
    limits: Limits,
}

impl Ping {
    /// For an `http` or `https` URL. Certificates are those that this machine trusts; a proxy is what the environment says
    /// (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`).
    pub fn new(url: &str, limits: Limits) -> Ping {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier);
        let config = Agent::config_builder()
            .timeout_connect(Some(limits.connect))
            .tls_config(tls.build())
            .user_agent(concat!("pipeline/", env!("CARGO_PKG_VERSION")))
            // Between two calls lies a run: a connection that was kept would be dead.
            .max_idle_connections(0);
        Ping { agent: config.build().new_agent(), url: url.to_owned(), limits }
    }

    /// A run has begun.
    pub fn start(&self) -> Result<(), Failure> {
        let call = self.agent.get(with_suffix(&self.url, "/start"));
        let limit = self.limits.start;
        self.result(call.config().timeout_global(Some(limit)).build().call(), limit)
    }

    /// A run has done its work; one line about it. Its end has waited for so long already.
    pub fn success(&self, summary: &str, waited: Duration) -> Result<(), Failure> {
        self.end("", summary, waited)
    }

    /// A run has failed; one line about it. Its end has waited for so long already.
    pub fn fail(&self, summary: &str, waited: Duration) -> Result<(), Failure> {
        self.end("/fail", summary, waited)
    }

    fn end(&self, suffix: &str, summary: &str, waited: Duration) -> Result<(), Failure> {
        // Nobody waits for longer than a call at the start may take, so something is left.
        let limit = self.limits.overall.saturating_sub(waited.min(self.limits.start));
        let call = self.agent.post(with_suffix(&self.url, suffix));
        self.result(call.config().timeout_global(Some(limit)).build().send(summary), limit)
    }

    fn result<T>(&self, answer: Result<T, ureq::Error>, limit: Duration) -> Result<(), Failure> {
        let error = match answer {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let why = match &error {
            ureq::Error::StatusCode(code) => format!("it answers with status {code}"),
            ureq::Error::Timeout(_) => format!("no answer within {} s", limit.as_secs()),
            ureq::Error::HostNotFound => "its name is not known".into(),
            ureq::Error::Io(error) => describe(error),
            // In ureq's words it would hold the URL.
            ureq::Error::BadUri(_) => "that is no URL".into(),
            error => describe(error),
        };
        Err(Failure {
            exit: Exit::Unexpected,
            what: format!("the dead-man's switch at {} was not told: {why}", host(&self.url)),
            hint: Some("the run is not affected; look at 'ping' in the configuration, and at the way there".into()),
        })
    }
}

/// The URL with something added to its path. What is behind a `?` stays behind it; what is behind a `#` is for browsers.
fn with_suffix(url: &str, suffix: &str) -> String {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    match url.split_once('?') {
        None if suffix.is_empty() => url.to_owned(),
        None => format!("{}{suffix}", url.trim_end_matches('/')),
        Some((path, query)) if suffix.is_empty() => format!("{path}?{query}"),
        Some((path, query)) => format!("{}{suffix}?{query}", path.trim_end_matches('/')),
    }
}

/// What may be told of a URL: host and port.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_suffix_belongs_to_the_path() {
        let table = [
            ("https://x.example/id", "https://x.example/id/start"),
            ("https://x.example/id/", "https://x.example/id/start"),
            ("https://x.example/key/slug?create=1", "https://x.example/key/slug/start?create=1"),
            ("http://x.example:8000", "http://x.example:8000/start"),
            ("https://x.example/id#top", "https://x.example/id/start"),
        ];
        for (url, expected) in table {
            assert_eq!(with_suffix(url, "/start"), expected);
        }
        for (url, expected) in [("https://x.example/a/?b=c", "https://x.example/a/?b=c"), ("http://x/#y", "http://x/")]
        {
            assert_eq!(with_suffix(url, ""), expected);
        }
    }

    #[test]
    fn nothing_but_the_host_is_told() {
        for url in ["https://x.example/secret", "http://u:secret@x.example?secret", "https://x.example#secret"] {
            assert_eq!(host(url), "x.example");
        }
        assert_eq!(host("http://[::1]:80/secret"), "[::1]:80");
    }

    #[test]
    fn who_says_nothing_is_not_waited_for() {
        // Accepts, by its backlog, and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let short = Duration::from_millis(100);
        let url = format!("http://{}/secret", silent.local_addr().unwrap());
        let limits = Limits { connect: short, start: short, overall: Duration::from_millis(1_200) };
        let ping = Ping::new(&url, limits);
        let expected = |seconds| {
            let host = silent.local_addr().unwrap();
            format!("the dead-man's switch at {host} was not told: no answer within {seconds} s")
        };
        assert_eq!(ping.start().unwrap_err().what, expected(0));
        // What the start took is taken off, and no more than that, however long the thread was in coming.
        assert_eq!(ping.fail("", Duration::ZERO).unwrap_err().what, expected(1));
        assert_eq!(ping.success("", Duration::from_secs(9)).unwrap_err().what, expected(1));
    }

    #[test]
    fn a_run_is_held_up_for_seconds_at_most() {
        let ping = Ping::new("https://x.example/", LIMITS);
        assert_eq!(ping.agent.config().timeouts().connect, Some(LIMITS.connect));
        assert_eq!([LIMITS.connect, LIMITS.start, LIMITS.overall].map(|limit| limit.as_secs()), [4, 4, 10]);
    }
}
