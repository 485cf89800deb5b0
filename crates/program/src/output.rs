//! Where lines go: a stream that is written whole lines at a time and that may go away.
//!
//! Guarantees: lines of several threads never mix; a reader who has seen enough (`| head`) is no error, and the work goes on
//! without telling; any other failure is kept for the end. A full disk under the log must not end a run.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A stream of lines.
pub struct Output(Mutex<State>);

struct State {
    stream: Box<dyn Write + Send>,
    failure: Option<io::Error>,
}

impl Output {
    /// Over any stream.
    pub fn new(stream: impl Write + Send + 'static) -> Output {
        Output(Mutex::new(State { stream: Box::new(stream), failure: None }))
    }

    /// Writes `text` and a line break, and flushes; nothing after a failure.
    pub fn line(&self, text: &str) {
        let mut state = self.state();
        if state.failure.is_some() {
            return;
        }
        let line = format!("{text}\n");
        if let Err(error) = state.stream.write_all(line.as_bytes()).and_then(|()| state.stream.flush()) {
            state.failure = Some(error);
        }
    }

    /// Why not everything was written; none where it was, or where the reader just left.
    pub fn take_failure(&self) -> Option<io::Error> {
        let mut state = self.state();
        match &state.failure {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => state.failure.replace(ErrorKind::BrokenPipe.into()),
            _ => None,
        }
    }

    /// Whether nobody takes what is written any more, or nobody can: whoever goes on for ever may end.
    pub fn is_gone(&self) -> bool {
        self.state().failure.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that keeps what was written, for whoever wants to read it again: tests, above all.
#[derive(Clone, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    /// As text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_left_is_no_error() {
        let output = Output::new(Failing(ErrorKind::BrokenPipe));
        assert!(!output.is_gone());
        output.line("x");
        assert!(output.take_failure().is_none() && output.is_gone());
    }

    #[test]
    fn a_full_disk_is_told_once() {
        let output = Output::new(Failing(ErrorKind::StorageFull));
        output.line("x");
        output.line("y");
        assert_eq!(output.take_failure().unwrap().kind(), ErrorKind::StorageFull);
        assert!(output.take_failure().is_none());
    }

    #[test]
    fn lines_are_whole() {
        let written = Written::default();
        let output = Output::new(written.clone());
        std::thread::scope(|scope| {
            for word in ["one", "two"] {
                let output = &output;
                scope.spawn(move || (0..100).for_each(|_| output.line(word)));
            }
        });
        assert_eq!(written.text().lines().filter(|line| matches!(*line, "one" | "two")).count(), 200);
    }
}
