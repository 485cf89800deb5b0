//! `keytool`: from a fresh card to a Pi in the fleet. What it needs of SSH comes from `pipeline-core`.

mod authorized_keys;
mod bound_agent;
mod changes;
mod cli;
mod cmd;
mod facts;
mod grant;
mod key;
mod known_hosts;
mod local;
mod names;
mod onboard;
mod places;
mod registry;
mod rotation;
mod shell;
mod ssh_config;
mod tunnel;
mod ui;
mod visits;
mod yaml;

fn main() -> std::process::ExitCode {
    cmd::main().into()
}
