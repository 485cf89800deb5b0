//! What a Pi that is broken or hostile runs in place of the commands that it is asked to run.
//!
//! Its sshd decides: a `ForceCommand` looks whether there is a script to run instead. So each Pi of a fleet can misbehave in its
//! own way, and be cured again.

use std::fs;
use std::path::Path;

use local_fleet::Machine;

/// For [`local_fleet::Builder::pi_config`]: Pis of this fleet can be given a script to run instead.
pub const PI_CONFIG: &str = "ForceCommand if [ -e \"$HOME/instead\" ]; then exec /bin/sh \"$HOME/instead\"; \
                             else exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"; fi";

/// From now on the Pi runs this script; `$SSH_ORIGINAL_COMMAND` is what it was asked to run.
///
/// # Panics
/// Where the script can't be written.
pub fn misbehave(pi: &Machine, script: &str) {
    let path = pi.home().join("instead");
    fs::write(&path, script).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A script that runs commands as `shell` says, and the SFTP server where that is asked for.
///
/// # Panics
/// Where this computer has no SFTP server.
pub fn with_sftp(shell: &str) -> String {
    format!("case \"$SSH_ORIGINAL_COMMAND\" in internal-sftp) exec {};; esac\n{shell}\n", sftp_server())
}

/// OpenSSH's SFTP server, as a program of its own.
///
/// # Panics
/// Where this computer has none.
pub fn sftp_server() -> &'static str {
    let places = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];
    let found = places.into_iter().find(|path| Path::new(path).exists());
    found.unwrap_or_else(|| panic!("no sftp-server in {places:?}"))
}

/// From now on the Pi pretends to start the agent, says `speech` in its place, and then does what `afterwards` says.
///
/// # Panics
/// Where the files can't be written.
pub fn impersonate_agent(pi: &Machine, speech: &[u8], afterwards: &str) {
    let path = pi.home().join("speech");
    fs::write(&path, speech).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    misbehave(pi, &format!("echo '=pipeline-agent= start'\ncat \"$HOME/speech\"\n{afterwards}\n"));
}

/// From now on the Pi does as it is told.
///
/// # Panics
/// Where it did before.
pub fn behave(pi: &Machine) {
    let path = pi.home().join("instead");
    fs::remove_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
