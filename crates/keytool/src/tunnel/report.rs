//! What the script on the Pi answers.

use crate::authorized_keys::Key;
use crate::shell::one_line;

/// What was done on the Pi, as far as the script came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The tunnel's public key.
    pub key: Option<Key>,
    /// Whether the jump host lets the key in; otherwise what ssh said.
    pub login: Option<Result<(), String>>,
    /// What became of the service.
    pub service: Option<Service>,
    /// The Pi has a tunnel already: of this device, or none that we know of.
    pub other: Option<String>,
}

/// What became of the tunnel's service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Will start when the card does.
    Enabled,
    /// Runs.
    Started,
    /// Runs, by a new unit.
    Restarted,
    /// Runs by its old unit, because the jump host does not let the new key in.
    Kept,
}

impl Report {
    /// Reads it. Lines that the script does not write are passed over: a login shell may have something to say as well.
    pub fn parse(answer: &[u8]) -> Report {
        let mut report = Report::default();
        for line in String::from_utf8_lossy(answer).lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "key" => report.key = Key::parse(rest).map(|(key, _)| key),
                "login" => {
                    let refused = rest.strip_prefix("refused").map(one_line);
                    report.login = Some(refused.map_or(Ok(()), Err));
                }
                "service" => {
                    report.service = match rest {
                        "enabled" => Some(Service::Enabled),
                        "started" => Some(Service::Started),
                        "restarted" => Some(Service::Restarted),
                        "kept" => Some(Service::Kept),
                        _ => None,
                    };
                }
                "other" => report.other = Some(one_line(rest)),
                _ => {}
            }
        }
        report
    }
}
