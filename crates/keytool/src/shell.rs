//! Scripts that a machine's shell runs for us, and their answers.
//!
//! Guarantees: a script arrives whole behind every login shell; what start-up files print before the answer is passed over; a
//! machine's words are bounded and fit for a terminal. Leaves to others: what the scripts do, and the connection.

use std::sync::Arc;
use std::time::Duration;

use pipeline_core::cancel::Cancel;
use pipeline_core::shell::command;
use pipeline_core::ssh::command::Output;
use pipeline_core::ssh::patience::Patience;
use pipeline_core::ssh::{Connection, SshError};
use program::words::printable;

/// Comes before every answer of a script, whatever start-up files have printed before it.
const MARK: &[u8] = b"=keytool= ";

/// The most of a machine's own words that is shown.
const MAX_WORDS_CHARS: usize = 200;

/// A machine that runs commands for us.
pub trait Shell {
    /// Runs one command with all of `stdin`, and waits for its end.
    fn run(&self, command: &str, stdin: &[u8]) -> Result<Output, SshError>;
}

/// A machine at the other end of a connection.
#[derive(Clone)]
pub struct Remote {
    /// The connection.
    pub connection: Arc<Connection>,
    /// How long a command may take.
    pub limit: Duration,
    /// The wish to stop.
    pub cancel: Cancel,
}

impl Shell for Remote {
    fn run(&self, command: &str, stdin: &[u8]) -> Result<Output, SshError> {
        self.connection.run(command, stdin, &Patience::new(self.limit, &self.cancel))
    }
}

/// What a script answered.
#[derive(Debug)]
pub struct Answer {
    /// The rest of the line with the mark; empty where there was none, so that no answer is one that nobody knows.
    pub word: String,
    /// What came after that line.
    pub rest: Vec<u8>,
    /// What it complained of, on one line; where it did not answer, what was printed instead.
    pub complaints: String,
}

/// Runs a script with variables of any bytes, and returns its answer.
pub fn ask(shell: &dyn Shell, variables: &[(&str, &[u8])], script: &str, stdin: &[u8]) -> Result<Answer, SshError> {
    let output = shell.run(&command(variables, script), stdin)?;
    let complaints = one_line(&String::from_utf8_lossy(&output.stderr));
    let Some(start) = output.stdout.windows(MARK.len()).position(|window| window == MARK) else {
        let printed = one_line(&String::from_utf8_lossy(&output.stdout));
        let complaints = [printed, complaints].into_iter().find(|words| !words.is_empty()).unwrap_or("nothing".into());
        return Ok(Answer { word: String::new(), rest: Vec::new(), complaints });
    };
    let answer = &output.stdout[start + MARK.len()..];
    let end = answer.iter().position(|&byte| byte == b'\n').unwrap_or(answer.len());
    let rest = answer.get(end + 1..).unwrap_or_default().to_vec();
    Ok(Answer { word: one_line(&String::from_utf8_lossy(&answer[..end])), rest, complaints })
}

/// A machine's words on one line: no more than a person reads, and nothing that could move a cursor.
pub fn one_line(words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(MAX_WORDS_CHARS).collect();
    printable(&line).into_owned()
}

#[cfg(test)]
#[allow(clippy::print_stderr)] // a test that is skipped says so
pub mod tests {
    //! A shell on this machine, for the tests of the scripts.

    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use super::*;

    /// A shell of this machine, in a home of its own.
    pub struct Local {
        /// Program and arguments before `-c`.
        pub shell: Vec<PathBuf>,
        /// `HOME`.
        pub home: PathBuf,
        /// `PATH`.
        pub path: String,
    }

    /// The shells that the scripts are tried with: dash, and busybox with nothing but its own tools.
    pub fn shells(home: &Path, tools: &Path) -> Vec<Local> {
        let system = std::env::var("PATH").unwrap();
        let mut shells = vec![Local { shell: vec!["dash".into()], home: home.to_owned(), path: system.clone() }];
        let busybox = system.split(':').map(|dir| Path::new(dir).join("busybox")).find(|busybox| busybox.exists());
        match busybox {
            Some(busybox) => {
                let list = Command::new(&busybox).arg("--list").output().unwrap().stdout;
                for tool in String::from_utf8(list).unwrap().lines() {
                    std::os::unix::fs::symlink(&busybox, tools.join(tool)).unwrap();
                }
                let path = tools.to_str().unwrap().to_owned();
                shells.push(Local { shell: vec![busybox, "sh".into()], home: home.to_owned(), path });
            }
            None => eprintln!("skipped for busybox, which is not installed here"),
        }
        shells
    }

    impl Local {
        /// The command as `sshd` would start it.
        pub fn command(&self, command: &str) -> Command {
            // What is handed over asks for /bin/sh, whatever that is here.
            let script = command.strip_prefix("exec /bin/sh -c '").and_then(|rest| rest.strip_suffix('\'')).unwrap();
            let mut process = Command::new(&self.shell[0]);
            process.args(&self.shell[1..]).args(["-c", script]).env_clear();
            process.env("HOME", &self.home).env("PATH", &self.path).stdin(Stdio::piped());
            process.stdout(Stdio::piped()).stderr(Stdio::piped());
            process
        }
    }

    impl Shell for Local {
        fn run(&self, command: &str, stdin: &[u8]) -> Result<Output, SshError> {
            let mut input = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut input, stdin).unwrap();
            std::io::Seek::rewind(&mut input).unwrap();
            let output = self.command(command).stdin(input).output().unwrap();
            Ok(Output { status: output.status.code(), stdout: output.stdout, stderr: output.stderr })
        }
    }

    struct Says(&'static [u8], &'static [u8]);

    impl Shell for Says {
        fn run(&self, _: &str, _: &[u8]) -> Result<Output, SshError> {
            Ok(Output { status: Some(0), stdout: self.0.to_vec(), stderr: self.1.to_vec() })
        }
    }

    #[test]
    fn an_answer_is_found_in_the_noise() {
        type Row<'a> = (&'static [u8], &'static [u8], &'a str, &'a [u8], &'a str);
        let table: [Row<'_>; 5] = [
            (b"=keytool= done\n", b"", "done", b"", ""),
            (b"Welcome!\n\xff=keytool= file 3\na\nb", b"late\n", "file 3", b"a\nb", "late"),
            (b"=keytool= no end", b"", "no end", b"", ""),
            (b"This account\x1b[2J\x07 is closed.\n", b"", "", b"", "This account\\x1b[2J\\x07 is closed."),
            (b"", b"", "", b"", "nothing"),
        ];
        for (stdout, stderr, word, rest, complaints) in table {
            let answer = ask(&Says(stdout, stderr), &[], "", b"").unwrap();
            assert_eq!((answer.word.as_str(), &answer.rest[..]), (word, rest));
            assert_eq!(answer.complaints, complaints);
        }
    }

    #[test]
    fn words_are_one_short_line_that_cannot_move_the_cursor() {
        assert_eq!(one_line(" bee\x1b[2Jkeeper\r\n\tÄpfel\u{202e} 3"), "bee\\x1b[2Jkeeper Äpfel\\u{202e} 3");
        assert_eq!(one_line(&"x ".repeat(5000)).len(), MAX_WORDS_CHARS);
    }
}
