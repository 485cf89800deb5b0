//! How a script is handed to a machine's `/bin/sh`, behind whatever login shell it has.
//!
//! Guarantees: sh, csh and fish read the command alike, and a variable arrives with exactly its bytes. Leaves to others: what the
//! scripts do, and that they work with dash and busybox.

use std::fmt::Write as _;

/// Hands a script to `/bin/sh`, in a way that sh, csh and fish read alike. It must hold neither single quotes nor `!`.
pub fn in_sh(script: &str) -> String {
    format!("exec /bin/sh -c '{script}'")
}

/// `name=VALUE` for any bytes but NUL.
pub fn assign(name: &str, value: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+,:=@ ".contains(byte);
    if value.iter().all(is_plain) {
        let value: String = value.iter().map(|&byte| char::from(byte)).collect();
        return format!("{name}=\"{value}\"");
    }
    let mut escaped = String::new();
    for byte in value {
        let _infallible = match byte {
            byte if is_plain(byte) => write!(escaped, "{}", char::from(*byte)),
            byte => write!(escaped, "\\0{byte:03o}"),
        };
    }
    // The dot saves a newline at the end, which "$(...)" would drop.
    format!("{name}=$(printf %b \"{escaped}\"; echo .); {name}=${{{name}%.}}")
}

/// Hands over a script that may hold any characters, with variables of any bytes but NUL. `S` is taken.
pub fn command(variables: &[(&str, &[u8])], script: &str) -> String {
    let script = bare(script);
    let variables = variables.iter().copied().chain([("S", script.as_bytes())]);
    let assigned = variables.map(|(name, value)| assign(name, value) + "; ").collect::<String>();
    in_sh(&format!("{assigned}eval \"$S\""))
}

/// A script without comments and indentation: it travels on every visit.
pub fn bare(script: &str) -> String {
    let lines = script.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_and_any_script_arrive() {
        let value: Vec<u8> = (1..=255).chain(*b"\n\n").collect();
        let script = "# not sent\n    printf '%s' \"$v\" # it's sent!\n    printf '%s' \"$w\"\n";
        let command = command(&[("v", &value), ("w", b"plain words")], script);
        for shell in ["sh", "bash"] {
            let output = std::process::Command::new(shell).args(["-c", &command]).output().unwrap();
            assert_eq!(output.stdout, [&value[..], b"plain words"].concat(), "{shell}");
        }
        assert!(!command.contains("not sent") && !command.contains('!'), "{command}");
    }
}
