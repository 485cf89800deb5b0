//! The unit that holds the tunnel, and the `ssh` command in it.

use super::{ACCOUNT, Tunnel};

/// `ssh` with everything that it must know and nothing that a file on the Pi could change; without what it is to do.
pub(super) fn command(tunnel: &Tunnel) -> Vec<String> {
    let Tunnel { jump, etc, .. } = tunnel;
    [
        "/usr/bin/ssh -F none".to_owned(),
        format!("-i {etc}/{ACCOUNT}/{} -o IdentitiesOnly=yes -o IdentityAgent=none", tunnel.device),
        "-o BatchMode=yes -o ConnectTimeout=30".into(),
        format!("-o StrictHostKeyChecking=yes -o UserKnownHostsFile={etc}/{ACCOUNT}/known_hosts"),
        "-o GlobalKnownHostsFile=/dev/null -o UpdateHostKeys=no".into(),
        format!("-o HostKeyAlias={} -o CheckHostIP=no", jump.alias),
        format!("-p {} -l {}", jump.port, jump.user),
    ]
    .into()
}

pub(super) fn text(tunnel: &Tunnel) -> String {
    let Tunnel { device, port, sshd_port, jump, .. } = tunnel;
    let mut lines = command(tunnel);
    // The server takes silence for death after 90 seconds too: see `sshd_snippet`.
    lines.push("-o ExitOnForwardFailure=yes -o ServerAliveInterval=30 -o ServerAliveCountMax=3".into());
    lines.push(format!("-N -T -R localhost:{port}:localhost:{sshd_port} {}", jump.hostname));
    let command = lines.join(" \\\n    ");
    format!(
        "\
# Made by `keytool tunnel`. On the Pi: /etc/systemd/system/{ACCOUNT}.service

[Unit]
Description=Reverse tunnel of {device} to port {port} of {alias}
Wants=network-online.target
After=network-online.target
# However long the network is away: never give up.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
User={ACCOUNT}
Group={ACCOUNT}
UMask=0077

# From 10 seconds to two minutes between attempts. systemd before 254 does not know how to grow, says so, and stays at the first.
Restart=always
RestartSec=10s
RestartSteps=5
RestartMaxDelaySec=2min

# It needs the network, its key and the host key it trusts.
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

# What stays open, and why:
# - PrivateNetwork=, AF_INET, AF_INET6: the tunnel is a connection to the jump host, and one to this Pi's sshd.
# - IPAddressDeny=: the jump host is known by its name, and its address may change. Where it is fixed, a drop-in with
#   IPAddressDeny=any and IPAddressAllow= (jump host, name servers, localhost) shuts out the rest.
# - AF_UNIX: the journal, and name services that answer on a socket.
# - PrivateUsers=, RootDirectory=: ssh looks its own user up, and needs its libraries.
# - ProcSubset=: the C and cryptographic libraries ask how the system is (/proc/filesystems, /proc/sys/crypto).
# - @privileged, @resources: older versions of ssh call setresuid with what they are already, and end where that is refused. Without
#   capabilities, these calls give nothing that the user does not have.
# - DeviceAllow=: what is listed comes with ProtectClock=, and PrivateDevices= hides it.

[Install]
WantedBy=multi-user.target
",
        alias = jump.alias
    )
}
