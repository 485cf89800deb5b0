//! What is typed: a line, a line that is not shown, or the key that means yes or no.
//!
//! Guarantees that the terminal is given back as it was, whatever key or signal ends us but SIGKILL, and that what was typed unseen
//! is zeroised.

use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use program::signals::Withheld;
use rustix::event::{PollFd, PollFlags, poll};
use zeroize::Zeroizing;

/// No password is longer; a file that was piped in by mistake is.
pub(super) const MAX_BYTES: usize = 4096;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const KILL_LINE: u8 = 0x15;
const DELETE: u8 = 0x7f;

/// A terminal that shows nothing, as long as this lives.
struct Silent<T: AsFd> {
    terminal: T,
    before: Termios,
    /// Dropped last, so that a signal finds the terminal as it was.
    signals: Withheld,
}

impl<T: AsFd> Silent<T> {
    fn new(terminal: T) -> io::Result<Silent<T>> {
        let signals = Withheld::new()?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        // Keys one by one, Ctrl-C among them: as a signal it would end us before we could give the terminal back.
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        // What was typed before is forgotten: it was shown.
        tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent)?;
        Ok(Silent { terminal, before, signals })
    }
}

/// Key by key, until a signal comes.
impl<T: AsFd> Read for &Silent<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut both = [PollFd::new(&self.terminal, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        poll(&mut both, None)?;
        if self.signals.came() {
            return Err(io::Error::other("a signal came"));
        }
        Ok(rustix::io::read(&self.terminal, buffer)?)
    }
}

impl<T: AsFd> Drop for Silent<T> {
    fn drop(&mut self) {
        // A terminal that went away needs nothing.
        tcsetattr(&self.terminal, SetArg::TCSAFLUSH, &self.before).ok();
    }
}

/// Shows the question on standard error and reads a line as the terminal gives it: shown, and mended by the terminal's own keys. None
/// where there is no more.
pub(super) fn line(question: &str) -> io::Result<Option<String>> {
    let mut error = io::stderr();
    write!(error, "{question}: ")?;
    error.flush()?;
    Ok(first_line_of(Bare)?.map(|line| line.trim().to_owned()))
}

/// Shows the question on standard error and reads a line of standard input, which is a terminal, without showing it.
pub(super) fn unseen(question: &str) -> io::Result<Zeroizing<String>> {
    debug_assert!(io::stdin().is_terminal());
    let mut error = io::stderr();
    // Silent first: whoever answers as soon as the question is there is not shown.
    let silent = Silent::new(rustix::stdio::stdin())?;
    write!(error, "{question}: ")?;
    error.flush()?;
    let typed = keys(&silent);
    drop(silent);
    writeln!(error)?;
    typed
}

/// Shows the question on standard error and reads one key that answers it; no other key but y and Y means yes.
pub(super) fn confirm(question: &str) -> io::Result<bool> {
    debug_assert!(io::stdin().is_terminal());
    let mut error = io::stderr();
    // Silent first: what was typed before the question was there is no answer to it.
    let silent = Silent::new(rustix::stdio::stdin())?;
    write!(error, "{question} [y/N] ")?;
    error.flush()?;
    let answer = answer(&silent);
    drop(silent);
    match answer {
        Ok(yes) => writeln!(error, "{}", if yes { "yes" } else { "no" })?,
        Err(_) => writeln!(error)?,
    }
    answer
}

/// The first key that is an answer.
fn answer(mut input: impl Read) -> io::Result<bool> {
    let mut key = [0];
    loop {
        match input.read(&mut key) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
        }
        match key[0] {
            b'y' | b'Y' => return Ok(true),
            b'n' | b'N' | b'\n' | b'\r' => return Ok(false),
            INTERRUPT => return Err(ErrorKind::Interrupted.into()),
            END => return Err(ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

/// Edits a line key by key.
fn keys(mut input: impl Read) -> io::Result<Zeroizing<String>> {
    // Never grows: a copy that is left behind would not be zeroised.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
    let mut key = Zeroizing::new([0]);
    loop {
        match input.read(&mut *key) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
        }
        match key[0] {
            b'\n' | b'\r' => return text(&line),
            INTERRUPT => return Err(ErrorKind::Interrupted.into()),
            END if line.is_empty() => return Err(ErrorKind::UnexpectedEof.into()),
            END => return text(&line),
            KILL_LINE => line.clear(),
            // A character may be several bytes.
            BACKSPACE | DELETE => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            byte if line.len() < MAX_BYTES => line.push(byte),
            _ => return Err(ErrorKind::InvalidInput.into()),
        }
    }
}

/// The first line of standard input, without its end; none where there is nothing.
pub(super) fn first_line() -> io::Result<Option<Zeroizing<String>>> {
    first_line_of(Bare)
}

fn first_line_of(mut input: impl Read) -> io::Result<Option<Zeroizing<String>>> {
    let mut line = Zeroizing::new(vec![0; MAX_BYTES]);
    let mut length = 0;
    while length < MAX_BYTES && !line[..length].contains(&b'\n') {
        match input.read(&mut line[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if length == 0 {
        return Ok(None);
    }
    let end = line[..length].iter().position(|byte| *byte == b'\n').unwrap_or(length);
    text(line[..end].strip_suffix(b"\r").unwrap_or(&line[..end])).map(Some)
}

fn text(line: &[u8]) -> io::Result<Zeroizing<String>> {
    let text = std::str::from_utf8(line).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))?;
    // It would end a password before its end.
    if text.contains('\0') {
        return Err(io::Error::new(ErrorKind::InvalidData, "it holds a NUL character"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// Standard input without the standard library's buffer, which keeps what went through it.
struct Bare;

impl Read for Bare {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), buffer)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_mended_while_it_is_typed() {
        let table: [(&[u8], Result<&str, ErrorKind>); 10] = [
            (b"honey\n", Ok("honey")),
            (b"honey\r", Ok("honey")),
            (b"hon\x7f\x08ney\x04", Ok("hney")),
            ("bl\u{fc}\u{7f}ue\n".as_bytes(), Ok("blue")),
            (b"\x7fwrong\x15right\n", Ok("right")),
            (b"ho\x03ney\n", Err(ErrorKind::Interrupted)),
            (b"\x04", Err(ErrorKind::UnexpectedEof)),
            (b"hon", Err(ErrorKind::UnexpectedEof)),
            (b"\xff\n", Err(ErrorKind::InvalidData)),
            (b"ho\0ney\n", Err(ErrorKind::InvalidData)),
        ];
        for (typed, expected) in table {
            let read = keys(typed).map_err(|error| error.kind());
            assert_eq!(
                read.as_ref().map(|line| line.as_str()).map_err(|kind| *kind),
                expected,
                "{}",
                typed.escape_ascii()
            );
        }
        assert!(keys([b'x'; MAX_BYTES + 1].as_slice()).is_err());
    }

    #[test]
    fn only_a_y_means_yes() {
        let table: [(&[u8], Result<bool, ErrorKind>); 7] = [
            (b"y", Ok(true)),
            (b"xY", Ok(true)),
            (b"ny", Ok(false)),
            (b"\ry", Ok(false)),
            (b"\x03y", Err(ErrorKind::Interrupted)),
            (b"\x04y", Err(ErrorKind::UnexpectedEof)),
            (b"x", Err(ErrorKind::UnexpectedEof)),
        ];
        for (typed, expected) in table {
            assert_eq!(answer(typed).map_err(|error| error.kind()), expected, "{}", typed.escape_ascii());
        }
    }

    #[test]
    fn the_first_line_alone_is_the_password() {
        let table: [(&[u8], Option<&str>); 6] = [
            (b"honey\nmore", Some("honey")),
            (b"honey\r\n", Some("honey")),
            (b"honey", Some("honey")),
            (b" a b \n", Some(" a b ")),
            (b"\n", Some("")),
            (b"", None),
        ];
        for (piped, expected) in table {
            assert_eq!(first_line_of(piped).unwrap().as_ref().map(|line| line.as_str()), expected);
        }
        assert_eq!(first_line_of([b'x'; 9000].as_slice()).unwrap().unwrap().len(), MAX_BYTES);
    }
}
