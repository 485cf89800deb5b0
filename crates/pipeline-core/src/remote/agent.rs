//! The collector's half of the agent protocol.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

/// A running agent's standard streams, over whatever carries them.
pub struct Link {
    /// Its stdin and stdout. Blocking; ends when the agent or the connection does.
    pub stream: UnixStream,
    /// The last that it, or the device's shell, wrote to stderr, at most 2 KiB, and "exit status N" once it has ended.
    pub errors: Arc<Mutex<Vec<u8>>>,
    /// Keeps the connection up; dropped last.
    pub guard: Box<dyn Send>,
}
