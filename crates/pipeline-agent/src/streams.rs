//! Standard input, output and error, and the exit status.

#![allow(clippy::print_stdout, clippy::print_stderr)] // this is the place for it

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline_core::agent;
use pipeline_core::error::one_line;

use rustix::pipe::fcntl_setpipe_size;

use crate::args::UsageError;

/// The default of `fs.pipe-max-size`.
const PIPE_BYTES: usize = 1024 * 1024;

/// Prints a text that was asked for.
pub fn say(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

/// Says what is wrong with the command line.
pub fn refuse(error: &UsageError) -> ExitCode {
    eprintln!("pipeline-agent: {}; see pipeline-agent --help", error.0);
    ExitCode::from(2)
}

/// Serves until the requests end.
pub fn serve(roots: &[PathBuf]) -> ExitCode {
    // Not by way of the standard library's own buffers: the frames are the buffers.
    let streams = || Ok::<_, io::Error>((own(io::stdin())?, own(io::stdout())?));
    // Where standard output is a pipe: fewer and larger hand-overs to sshd. As large as an ordinary user may have it.
    fcntl_setpipe_size(io::stdout(), PIPE_BYTES).ok();
    let result = streams().map_err(agent::AgentError::Start).and_then(|(i, o)| agent::serve(i, o, roots));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pipeline-agent: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn own(stream: impl AsFd) -> io::Result<File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}
