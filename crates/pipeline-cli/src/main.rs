//! `pipeline`: empties a fleet of Raspberry Pis into research storage. All work is done by `pipeline-core`.

mod cli;
mod cmd;
mod manager;
mod monitors;
mod page;
mod ping;
mod ui;

fn main() -> std::process::ExitCode {
    cmd::main().into()
}
