//! The text of every configuration file: sshd's, the ssh clients', known_hosts, authorized_keys and pipeline.yaml.
//!
//! Nothing here touches a file. Paths are plain words (the builder saw to that), so nothing needs quoting.

use std::fmt::Write;
use std::path::Path;

/// What one `sshd` needs to know.
pub(crate) struct Sshd<'a> {
    pub dir: &'a Path,
    pub home: &'a Path,
    pub port: u16,
    /// Whoever logs in has an account with a password, and `home` as its home.
    pub own_account: bool,
    /// PAM lets a locked account in by key; without it sshd does not.
    pub use_pam: bool,
    /// `PerSourcePenalties` came with OpenSSH 9.8: it would lock out 127.0.0.1 after a few sessions were killed.
    pub has_penalties: bool,
    /// Lines that come first, so that they win.
    pub extra: &'a str,
}

/// `sshd_config`. `MaxStartups` and `MaxSessions` stay what the distribution ships, which is OpenSSH's default.
pub(crate) fn sshd(sshd: &Sshd<'_>) -> String {
    let Sshd { dir, home, port, .. } = sshd;
    let (dir, home) = (dir.display(), home.display());
    let pam = if sshd.use_pam { "yes" } else { "no" };
    let penalties = if sshd.has_penalties { "PerSourcePenalties no\n" } else { "" };
    let extra = sshd.extra.trim_end();
    let whose = if sshd.own_account {
        "AuthorizedKeysFile .ssh/authorized_keys\nStrictModes yes\nPasswordAuthentication yes\n".into()
    } else {
        format!(
            "AuthorizedKeysFile {dir}/authorized_keys\nStrictModes no\nPasswordAuthentication no\nSetEnv HOME={home}\n"
        )
    };
    format!(
        "{extra}\n\
         ListenAddress 127.0.0.1\n\
         Port {port}\n\
         HostKey {dir}/host_key\n\
         {whose}\
         PidFile none\n\
         UsePAM {pam}\n\
         PermitRootLogin prohibit-password\n\
         KbdInteractiveAuthentication no\n\
         PrintMotd no\n\
         LogLevel VERBOSE\n\
         Subsystem sftp internal-sftp\n\
         {penalties}"
    )
}

/// `~/.profile` of a machine, for the person who looks around in it.
pub(crate) fn profile(user: &str, name: &str) -> String {
    format!("cd \"$HOME\"\nPS1='{user}@{name}:\\w\\$ '\n")
}

/// The jump host and the devices behind it, as the collector's ssh config names them.
pub(crate) struct Client<'a> {
    pub user: &'a str,
    pub identity: &'a Path,
    pub known_hosts: &'a Path,
    pub jump_port: u16,
}

/// What holds for every host. The system's own known_hosts and the user's agent must not play a part.
fn client_common(client: &Client<'_>, hosts: &str) -> String {
    let Client { user, identity, known_hosts, .. } = client;
    format!(
        "Host {hosts}\n    \
             User {user}\n    \
             IdentityFile {}\n    \
             IdentitiesOnly yes\n    \
             IdentityAgent none\n    \
             UserKnownHostsFile {}\n    \
             GlobalKnownHostsFile /dev/null\n    \
             StrictHostKeyChecking yes\n    \
             BatchMode yes\n",
        identity.display(),
        known_hosts.display()
    )
}

/// The collector's ssh config: `(alias, port on the jump host)` for each device.
pub(crate) fn collector<'a>(client: &Client<'_>, devices: impl Iterator<Item = (&'a str, u16)>) -> String {
    let mut text = format!("Host awsbox\n    HostName 127.0.0.1\n    Port {}\n\n", client.jump_port);
    for (name, port) in devices {
        write!(
            text,
            "Host {name}\n    HostName localhost\n    Port {port}\n    ProxyJump awsbox\n    HostKeyAlias {name}\n\n"
        )
        .ok();
    }
    text + &client_common(client, "awsbox raspberry*")
}

/// A Pi's ssh config for its tunnel; with `ssh -N -R …` it is what a systemd unit on a real Pi would use.
pub(crate) fn tunnel(client: &Client<'_>) -> String {
    format!(
        "Host awsbox\n    \
             HostName 127.0.0.1\n    \
             Port {}\n    \
             ExitOnForwardFailure yes\n    \
             ServerAliveInterval 30\n    \
             ServerAliveCountMax 3\n\n",
        client.jump_port
    ) + &client_common(client, "awsbox")
}

/// The line that lets a Pi's tunnel in at the jump host: to listen on its own port and for nothing else.
pub(crate) fn tunnel_authorization(port: u16, key: &str, name: &str) -> String {
    format!("restrict,port-forwarding,permitlisten=\"127.0.0.1:{port}\" {key} tunnel of {name}\n")
}

/// pipeline.yaml. Top-level keys of `extra` win over ours.
pub(crate) struct Pipeline<'a> {
    pub root: &'a Path,
    pub ssh_config: &'a Path,
    pub storage: &'a Path,
    pub state_dir: &'a Path,
    /// Each device's name and source.
    pub devices: Vec<(&'a str, &'a Path)>,
    pub extra: &'a str,
}

/// The collector's configuration.
pub(crate) fn pipeline(pipeline: &Pipeline<'_>) -> String {
    let mut devices = "devices:\n".to_owned();
    for (name, source) in &pipeline.devices {
        writeln!(devices, "  {name}: {{ source: {} }}", source.display()).ok();
    }
    let own = [
        format!("hosts: [{}]\n", patterns(&pipeline.devices)),
        "source: /home/pi/beephotos\n".into(),
        format!("storage: {}\n", pipeline.storage.display()),
        format!("ssh_config: {}\n", pipeline.ssh_config.display()),
        format!("state_dir: {}\n", pipeline.state_dir.display()),
        "timeouts: { connect: 5s, idle: 10s }\n".into(),
        devices,
    ];
    let given: Vec<_> = pipeline.extra.lines().filter_map(top_level_key).collect();
    let own = own.into_iter().filter(|text| !top_level_key(text).is_some_and(|key| given.contains(&key)));
    let extra = pipeline.extra.trim_end();
    let extra = if extra.is_empty() { String::new() } else { format!("{extra}\n") };
    format!("# The local fleet in {}\n{}{extra}", pipeline.root.display(), own.collect::<String>())
}

/// Host patterns for these devices: one range, where they are numbered from 1.
fn patterns(devices: &[(&str, &Path)]) -> String {
    let from_one = devices.iter().zip(1..).all(|((name, _), number)| *name == format!("raspberry{number}"));
    if from_one {
        return format!("\"raspberry[1-{}]\"", devices.len());
    }
    devices.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// The key that a line of block-style YAML at column 0 begins with.
fn top_level_key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(':')?;
    (!key.starts_with([' ', '#', '-'])).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_test_win() {
        let text = pipeline(&Pipeline {
            root: Path::new("/f"),
            ssh_config: Path::new("/f/ssh/config"),
            storage: Path::new("/f/storage"),
            state_dir: Path::new("/f/state"),
            devices: vec![("raspberry1", Path::new("/f/raspberry1/home/beephotos"))],
            extra: "storage: /elsewhere\ndelete:\n  after: never\n",
        });
        let expected = "# The local fleet in /f\n\
            hosts: [\"raspberry[1-1]\"]\n\
            source: /home/pi/beephotos\n\
            ssh_config: /f/ssh/config\n\
            state_dir: /f/state\n\
            timeouts: { connect: 5s, idle: 10s }\n\
            devices:\n  raspberry1: { source: /f/raspberry1/home/beephotos }\n\
            storage: /elsewhere\ndelete:\n  after: never\n";
        assert_eq!(text, expected);
    }
}
