//! Tells a story on the terminal: text, commands as a person would type them with their real output, and facts.
//!
//! A fact that does not hold, a command that fails and a signal all end the story, so that it can't say what is not so.

use std::io::{self, IsTerminal, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// What ends a story before its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The fleet could not do what was asked.
    #[error(transparent)]
    Fleet(#[from] local_fleet::Error),
    /// The story says so, and it is not so.
    #[error("it is not so: {0}")]
    NotSo(String),
    /// A command failed.
    #[error("the command ended with {status}: {command}")]
    Command { command: String, status: ExitStatus },
    /// A command could not be run.
    #[error("can't run {command}")]
    Run {
        command: String,
        #[source]
        cause: io::Error,
    },
    /// A signal, by its number.
    #[error("stopped by signal {0}")]
    Stopped(usize),
}

/// The one who tells it.
#[derive(Debug)]
pub struct Narrator {
    /// The number of the signal that asked to stop; 0 for none.
    stop: Arc<AtomicUsize>,
    bold: bool,
    chapter: u32,
}

impl Narrator {
    /// From now on signals are asked about here and no longer end the process.
    pub fn new() -> io::Result<Narrator> {
        let stop = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_usize(signal, Arc::clone(&stop), signal.unsigned_abs() as usize)?;
        }
        let bold = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(Narrator { stop, bold, chapter: 0 })
    }

    /// The signal that asked to stop.
    pub fn stopped_by(&self) -> Option<usize> {
        Some(self.stop.load(Ordering::SeqCst)).filter(|&signal| signal != 0)
    }

    /// Begins a chapter.
    pub fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        self.say(&format!("\n{}", self.strong(&format!("{}. {title}", self.chapter))));
    }

    /// Says something.
    pub fn say(&self, text: &str) {
        // Whoever started us may have closed the pipe; then nobody listens, and the checks are made all the same.
        writeln!(io::stdout(), "{text}").ok();
    }

    /// Says something that was looked at a moment ago.
    pub fn fact(&self, holds: bool, text: &str) -> Result<(), Failure> {
        if !holds {
            return Err(Failure::NotSo(text.into()));
        }
        self.say(&format!("✓ {text}"));
        Ok(())
    }

    /// Shows a command, runs it on this terminal, and waits until it succeeds.
    pub fn run(&self, command: &mut Command) -> Result<(), Failure> {
        self.run_as(command, as_typed(command))
    }

    /// The same for a line of shell.
    pub fn run_line(&self, line: &str) -> Result<(), Failure> {
        self.run_as(Command::new("sh").arg("-c").arg(line), line.into())
    }

    fn run_as(&self, command: &mut Command, shown: String) -> Result<(), Failure> {
        if let Some(signal) = self.stopped_by() {
            return Err(Failure::Stopped(signal));
        }
        self.say(&self.strong(&format!("\n$ {shown}")));
        let failed = |cause| Failure::Run { command: shown.clone(), cause };
        let status = command.spawn().and_then(|child| self.wait(child)).map_err(failed)?;
        match self.stopped_by() {
            Some(signal) => Err(Failure::Stopped(signal)),
            None if status.success() => Ok(()),
            None => Err(Failure::Command { command: shown, status }),
        }
    }

    /// A Ctrl-C reaches the command by the terminal, and it ends by itself. Other signals are passed on to it.
    fn wait(&self, mut child: Child) -> io::Result<ExitStatus> {
        let mut told = false;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if !told && self.stopped_by().is_some_and(|signal| signal != SIGINT.unsigned_abs() as usize) {
                kill_process(Pid::from_child(&child), Signal::TERM)?;
                told = true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn strong(&self, text: &str) -> String {
        if self.bold { format!("\x1b[1m{text}\x1b[0m") } else { text.into() }
    }
}

/// A command as one types it into a shell: the program by its name alone, words quoted where they must be.
fn as_typed(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:@,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_types_it() {
        let mut command = Command::new("/usr/bin/ssh");
        command.args(["-F", "/tmp/x/config", "pi", "ls 'it'", ""]);
        assert_eq!(as_typed(&command), r"ssh -F /tmp/x/config pi 'ls '\''it'\''' ''");
    }
}
