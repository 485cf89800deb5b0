//! `pipeline`: empties a fleet of Raspberry Pis into research storage. All work is done by `pipeline-core`.

mod bug;
mod cli;
mod cmd;
mod environment;
mod exit;
mod failure;
mod monitors;
mod ping;
mod signals;
mod ui;

fn main() -> std::process::ExitCode {
    cmd::main().into()
}
