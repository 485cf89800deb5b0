//! A person at a terminal.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything takes that needs no further answer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(90);

/// A program whose standard input and standard error are a terminal.
pub struct Terminal {
    child: Child,
    person: File,
    shown: Vec<u8>,
}

impl Terminal {
    /// Starts it.
    pub fn start(mut command: Command) -> Terminal {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let child = command
            .env("TERM", "xterm")
            .stdin(slave.try_clone().unwrap())
            .stdout(Stdio::null())
            .stderr(slave)
            .spawn()
            .unwrap();
        // With it go our copies of the program's side: its end is then the end of what can be read.
        drop(command);
        Terminal { child, person: master.into(), shown: Vec::new() }
    }

    /// Waits until these words are shown, after all that was waited for before.
    pub fn wait_for(&mut self, words: &str) {
        while !self.text().contains(words) {
            let mut buffer = [0; 1024];
            match self.person.read(&mut buffer) {
                Ok(0) => panic!("it ended, and showed: {}", self.text()),
                Ok(length) => self.shown.extend(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}: {}", self.text()),
            }
        }
        let end = self.text().find(words).map_or(0, |at| at + words.len());
        // What came after it is still to be looked at.
        self.shown.drain(..end);
    }

    /// Types a line where it is not shown: once the program has asked for that.
    pub fn type_unseen(&mut self, line: &str) {
        self.wait_for_echo(false);
        self.person.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Types a line where it is shown.
    pub fn type_seen(&mut self, line: &str) {
        self.person.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Ends the input where a line is asked for.
    pub fn type_end(&mut self) {
        self.person.write_all(b"\x04").unwrap();
    }

    /// Presses one key where the program waits for one.
    pub fn press(&mut self, key: u8) {
        self.wait_for_echo(false);
        self.person.write_all(&[key]).unwrap();
    }

    /// Gives up where the program waits for keys.
    pub fn press_ctrl_c(&mut self) {
        self.wait_for_echo(false);
        self.person.write_all(b"\x03").unwrap();
        self.wait_for_echo(true);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends a signal where the program waits for keys, and waits until the terminal shows again what is typed.
    pub fn signal_unseen(&mut self, signal: Signal) {
        self.wait_for_echo(false);
        self.signal(signal);
        self.wait_for_echo(true);
    }

    /// Waits until the terminal shows what is typed, or does not.
    fn wait_for_echo(&mut self, wanted: bool) {
        let echo = |terminal: &File| tcgetattr(terminal).unwrap().local_flags.contains(LocalFlags::ECHO);
        let start = Instant::now();
        while echo(&self.person) != wanted {
            if start.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it goes on and leaves the terminal otherwise: {}", self.text());
            }
            let ended = self.child.try_wait().unwrap();
            // It may have ended in between, and have done it before that.
            assert!(
                ended.is_none() || echo(&self.person) == wanted,
                "it ended and left the terminal otherwise: {ended:?}"
            );
            std::thread::yield_now();
        }
    }

    /// Waits for its end, and gives what else was shown. One that asks for more gets no answer, and fails.
    pub fn end(mut self) -> (ExitStatus, String) {
        let (sender, rest) = channel();
        let mut person = self.person.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut shown = Vec::new();
            // A terminal whose other side is gone gives an error.
            person.read_to_end(&mut shown).ok();
            sender.send(shown).ok();
        });
        let Ok(shown) = rest.recv_timeout(PATIENCE) else {
            self.child.kill().unwrap();
            panic!("it does not end, and showed: {}{}", self.text(), String::from_utf8_lossy(&rest.recv().unwrap()));
        };
        self.shown.extend(shown);
        let status = self.child.wait().unwrap();
        (status, self.text())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }
}
