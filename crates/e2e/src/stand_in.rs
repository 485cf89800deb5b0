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

/// What a Pi's kernel says of the Pi, in place of what this computer's kernel says of itself.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Thousandths of a degree Celsius.
    pub temperature_mdeg: i64,
    /// The firmware's `get_throttled`, in hexadecimal.
    pub throttled: &'static str,
    /// Lines of `/dev/kmsg`.
    pub log: &'static str,
    /// What else happens to what is mounted, in shell.
    pub mounts: &'static str,
}

/// One of a Pi that is well.
impl Default for Kernel {
    fn default() -> Kernel {
        let log = "6,339,5140900,-;mmcblk0: mmc0:aaaa SC64G 59.5 GiB\n";
        Kernel { temperature_mdeg: 51_540, throttled: "0", log, mounts: "" }
    }
}

/// From now on the Pi has this kernel, and does as it is told by `shell`, which ends with what runs `$SSH_ORIGINAL_COMMAND`. It needs
/// mounts of its own, as [`crate::mounts`] do: call it among them.
///
/// # Panics
/// Where the files can't be written, or this computer has no SFTP server.
pub fn behave_under(pi: &Machine, kernel: &Kernel, shell: &str) {
    let made = pi.home().join(".kernel");
    let write = |path: &str, text: &str| {
        let path = made.join(path);
        let parent = path.parent().unwrap_or(&made);
        fs::create_dir_all(parent).and_then(|()| fs::write(&path, text)).unwrap_or_else(|error| panic!("{error}"));
    };
    write("sys/class/thermal/thermal_zone0/temp", &format!("{}\n", kernel.temperature_mdeg));
    write("sys/devices/platform/soc/soc:firmware/get_throttled", &format!("{}\n", kernel.throttled));
    write("sys/fs/ext4/mmcblk0p2/errors_count", "0\n");
    write("loadavg", "0.42 0.31 0.20 1/123 4567\n");
    write("uptime", "1987200.50 7800000.00\n");
    write("meminfo", "MemTotal:        3884440 kB\nMemFree:          200000 kB\nMemAvailable:    3000000 kB\n");
    write("kmsg", kernel.log);
    let made = made.display();
    let mounts = kernel.mounts;
    misbehave(
        pi,
        &with_sftp(&format!(
            "exec unshare --mount sh -c '\
             for f in loadavg uptime meminfo; do mount --bind {made}/$f /proc/$f || exit; done\n\
             mount --bind {made}/sys /sys && mount --bind {made}/kmsg /dev/kmsg || exit\n\
             {mounts}\n{shell}'"
        )),
    );
}

/// For [`behave_under`]: what the Pi is asked to run, as it is.
pub const AS_ASKED: &str = "exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"";
