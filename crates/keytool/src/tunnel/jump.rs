//! The jump host's side: who may hold which tunnel, and what its sshd must do about dead ones.

use super::{TunnelError, word};
use crate::authorized_keys::{Entry, Key, Options};

/// What a comment of ours begins with.
const MARK: &str = "tunnel of ";

/// The line of `authorized_keys` on the jump host that lets a Pi's tunnel key in.
///
/// `restrict` alone would still let it run commands, and `port-forwarding` alone would let it connect to whatever the jump
/// host can reach, the tunnels of its neighbours first of all: hence `command` and `permitopen`. No option of a line keeps it from
/// making sockets in the jump host's file system; [`sshd_snippet`] does.
pub fn authorization(device: &str, port: u16, key: Key) -> Result<Entry, TunnelError> {
    word("device", device, "._-")?;
    Ok(Entry { options: options(port), ..Entry::plain(key, &format!("{MARK}{device}")) })
}

/// The same before there is a key, for people to fill in.
pub fn authorization_form(device: &str, port: u16) -> String {
    format!("{} PUBLIC-KEY-AS-THE-SCRIPT-PRINTS-IT {MARK}{device}", options(port))
}

fn options(port: u16) -> Options {
    let place = format!("localhost:{port}");
    let options = Options::default().flag("restrict").flag("port-forwarding").value("permitlisten", &place);
    options.value("command", "/bin/false").value("permitopen", &place)
}

/// Whether a line is one that [`authorization`] made for this device.
pub fn belongs_to(entry: &Entry, device: &str) -> bool {
    device_of(entry) == Some(device)
}

/// The device that a line of ours is for.
pub fn device_of(entry: &Entry) -> Option<&str> {
    entry.comment.strip_prefix(MARK)
}

/// The ports that a line says its key may listen on: `[HOST:]PORT`.
pub fn ports(entry: &Entry) -> Vec<u16> {
    let values = entry.options.all("permitlisten");
    values.iter().filter_map(|value| value.rsplit(':').next()?.parse().ok()).collect()
}

/// For `/etc/ssh/sshd_config.d/` on the jump host. `account`: one that holds tunnels and does nothing else.
pub fn sshd_snippet(account: Option<&str>) -> Result<String, TunnelError> {
    let mut text = "\
# Made by `keytool tunnel`. On the jump host: /etc/ssh/sshd_config.d/fleet.conf
# Check with `sshd -t`; `systemctl reload ssh` makes it count.

# A Pi that loses its network without a word leaves a dead tunnel behind, which holds its port. After 90 seconds it is free again.
ClientAliveInterval 30
ClientAliveCountMax 3

# Tunnels listen on the loopback interface only, where nobody reaches them but who is logged in here.
GatewayPorts no

# A tunnel's line in authorized_keys says which port it may listen on; sockets in the file system only this line refuses. Who needs
# them here can have `AllowStreamLocalForwarding yes` in a `Match User` block.
AllowStreamLocalForwarding no
"
    .to_owned();
    if let Some(account) = account {
        word("account on the jump host", account, "._-@")?;
        text += &format!(
            "
# Pis may listen, each on the port that its line in authorized_keys names, and nothing else.
Match User {account}
    AllowTcpForwarding remote
    AllowStreamLocalForwarding no
    AllowAgentForwarding no
    X11Forwarding no
    PermitTunnel no
    PermitTTY no
    ForceCommand /bin/false
"
        );
    }
    Ok(text)
}
