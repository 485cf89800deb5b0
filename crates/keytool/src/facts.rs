//! What a machine says of itself, so that a person can tell that it is the right box.
//!
//! Guarantees: bounded, and nothing in it can move a cursor. It is the machine's own word: it helps to tell boxes apart that
//! somebody has mixed up, and proves nothing against one that lies.

use pipeline_core::ssh::SshError;
use serde::Serialize;

use crate::shell::{Shell, ask, one_line};

/// A board has a few network interfaces; containers on it may add many.
const MAX_INTERFACES: usize = 8;

/// What a machine says of itself. What it does not know is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Its host name.
    pub hostname: String,
    /// `Raspberry Pi 4 Model B Rev 1.4`.
    pub model: String,
    /// Serial number of the board.
    pub serial: String,
    /// Its network interfaces that are hardware.
    pub interfaces: Vec<Interface>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// `eth0`.
    pub name: String,
    /// `dc:a6:32:01:02:03`.
    pub mac: String,
}

/// Asks a machine.
///
/// None where its shell answers something else, as that of a key that is bound to a command.
pub fn ask_for(shell: &dyn Shell) -> Result<Option<Facts>, SshError> {
    let answer = ask(shell, &[], include_str!("facts.sh"), b"")?;
    Ok((answer.word == "facts").then(|| parse(&answer.rest)))
}

/// Each line is a word and what is known; whatever else there is, is passed over.
fn parse(lines: &[u8]) -> Facts {
    let mut facts = Facts::default();
    for line in String::from_utf8_lossy(lines).lines() {
        let Some((word, value)) = line.split_once(' ') else { continue };
        let value = one_line(value);
        match word {
            "hostname" => facts.hostname = value,
            "model" => facts.model = value,
            "serial" => facts.serial = value,
            "interface" if facts.interfaces.len() < MAX_INTERFACES => {
                let (name, mac) = value.split_once(' ').unwrap_or((&value, ""));
                facts.interfaces.push(Interface { name: name.to_owned(), mac: mac.to_owned() });
            }
            _ => {}
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::tests::shells;

    #[test]
    fn every_shell_tells() {
        let (home, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        for shell in shells(home.path(), tools.path()) {
            let facts = ask_for(&shell).unwrap().unwrap();
            assert_eq!(facts.hostname, hostname.trim());
            for interface in &facts.interfaces {
                let path = format!("/sys/class/net/{}/address", interface.name);
                assert_eq!(std::fs::read_to_string(path).unwrap().trim(), interface.mac);
            }
        }
    }

    #[test]
    fn a_machine_that_lies_cannot_write_over_the_question() {
        let many = "interface eth0 aa:bb:cc:dd:ee:ff\n".repeat(100);
        let said = format!("hostname pi\x1b[1A raspberry31\r\nserial 1000\u{202e}abc\nmodel\nnonsense\n{many}");
        let facts = parse(said.as_bytes());
        assert_eq!(facts.hostname, "pi\\x1b[1A raspberry31");
        assert_eq!((facts.serial.as_str(), facts.model.as_str()), ("1000\\u{202e}abc", ""));
        assert_eq!(facts.interfaces.len(), MAX_INTERFACES);
        assert_eq!(facts.interfaces[0], Interface { name: "eth0".into(), mac: "aa:bb:cc:dd:ee:ff".into() });
    }
}
