//! One channel and the socket pair that it is pumped into.
//!
//! What libssh2 (the pinned version; read there, and proven under load) demands of the order of calls, and what this file
//! therefore does:
//! - A channel write that would block must be repeated with the same bytes: the slice in `up` is frozen until it is accepted.
//! - A channel read may first have to send a window adjustment, and must then be repeated with the same length: `down` is
//!   always offered whole, also for stderr, and a blocked read is tried again in every pass.
//! - Only whoever began to send a packet can finish it, and until then nobody can send another. So a lane whose user has gone
//!   goes on with what it began before it closes: otherwise it would silence all others.
//! - A write to a channel whose window is used up makes libssh2 forget that it has a half-sent packet of another channel: such
//!   a write is not tried.
//! - End-of-file packets live on libssh2's stack. They are sent only while nothing is half-sent, and by one lane at a time.
//! - The error code of a failed read or write is found in the session, immediately after.
//! - Every read takes whatever packets there are, of all lanes. What it brings for a lane that had its turn before shows in no
//!   poll, so each lane is asked once more before anybody waits ([`Lane::was_served`]).

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use libssh2_sys as raw;
use rustix::event::PollFlags;
use ssh2::{BlockDirections, Channel, Session};

use super::{Ending, MIN_WINDOW, MuxError, Report, append, append_line};
use crate::ssh::session::error_code;

/// What one read from a channel takes at most. It is also what libssh2 adds to the window.
const DOWN_BYTES: usize = 256 * 1024;
/// What libssh2 puts in one packet at most.
const UP_BYTES: usize = 32_700;

/// What a lane may use in one step.
pub(super) struct Turn<'a> {
    pub(super) session: &'a Session,
    /// Bytes that the peer may have under way on one lane.
    pub(super) window: u32,
    /// The lane whose end-of-file or close packet is half-sent.
    pub(super) control: &'a mut Option<u64>,
    /// Set by a lane that emptied the session's socket.
    pub(super) pumped: &'a mut bool,
    /// Set by a lane that met something of the peer's which no poll may have shown.
    pub(super) heard: &'a mut bool,
    /// Somebody waits for the output to be free: nobody begins to send more of a user's bytes.
    pub(super) urgent: bool,
    /// Set by a lane that waits so.
    pub(super) waiting: &'a mut bool,
    /// The mux is being given up: what is under way is sent, and nothing new is waited for.
    pub(super) stopping: bool,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing could be done.
    Idle,
    /// Something moved.
    Moved,
    /// The channel is closed: forget the lane.
    Done,
}

/// What ends a lane, or more.
pub(super) enum Trouble {
    /// This lane.
    Lane(String),
    /// The session.
    Session(MuxError),
}

/// A fixed buffer, filled only when it is empty.
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn new(size: usize) -> Buffer {
        Buffer { bytes: vec![0; size].into(), start: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn fill(&mut self, bytes: usize) {
        (self.start, self.end) = (0, bytes);
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
    }

    fn clear(&mut self) {
        self.start = self.end;
    }
}

/// A channel, our end of its socket pair, and what is under way between the two.
pub(super) struct Lane {
    id: u64,
    channel: Channel,
    /// None once nobody is served any more and the channel is only being closed.
    socket: Option<UnixStream>,
    /// For a command: where its stderr goes, and how it ended.
    report: Option<Report>,
    /// Channel to socket.
    down: Buffer,
    /// Socket to channel.
    up: Buffer,
    /// What the peer has allowed us to send, when we last looked.
    up_window: u32,
    /// The bytes in `up` wait for the peer to allow more.
    starved: bool,
    /// What had come for this lane and was not taken, when its turn ended.
    left_bytes: u32,
    /// The bytes in `up` may be half-sent.
    writing: bool,
    /// A read may have left a window adjustment half-sent.
    reading: bool,
    /// The socket may have something to read, as far as we know.
    readable: bool,
    /// The socket may take something, as far as we know.
    writable: bool,
    /// The other end of the socket pair will send nothing more.
    up_ended: bool,
    /// The peer has been told so.
    eof_sent: bool,
    /// The other end of the socket pair is closed altogether.
    hung_up: Option<Instant>,
    /// The peer will send nothing more, and everything it sent is in `down`.
    down_ended: bool,
    /// The other end of the socket pair has been told so.
    down_shut: bool,
    /// The peer has closed the channel.
    remote_closed: bool,
    /// A window adjustment that is to be repeated until it is accepted.
    adjustment: Option<u64>,
}

impl Lane {
    /// A lane that pumps between `channel` and `socket`, which must not block.
    pub(super) fn new(id: u64, channel: Channel, socket: UnixStream, report: Option<Report>) -> Lane {
        Lane { socket: Some(socket), report, ..Lane::closing(id, channel) }.with_buffers()
    }

    /// A lane that does nothing but close `channel`.
    pub(super) fn closing(id: u64, channel: Channel) -> Lane {
        Lane {
            id,
            channel,
            socket: None,
            report: None,
            down: Buffer::new(0),
            up: Buffer::new(0),
            up_window: 0,
            starved: false,
            left_bytes: 0,
            writing: false,
            reading: false,
            readable: true,
            writable: true,
            up_ended: false,
            eof_sent: false,
            hung_up: None,
            down_ended: false,
            down_shut: false,
            remote_closed: false,
            adjustment: None,
        }
    }

    fn with_buffers(mut self) -> Lane {
        self.down = Buffer::new(DOWN_BYTES);
        self.up = Buffer::new(UP_BYTES);
        self
    }

    /// Our end of the socket pair and what to wait for there; none where there is nothing to see.
    pub(super) fn interest(&self) -> Option<(&UnixStream, PollFlags)> {
        let socket = self.socket.as_ref().filter(|_| self.hung_up.is_none())?;
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.up.is_empty() && !self.up_ended);
        wanted.set(PollFlags::OUT, !self.down.is_empty());
        Some((socket, wanted))
    }

    /// Takes note of what was seen on our end of the socket pair.
    pub(super) fn note(&mut self, seen: PollFlags) {
        self.readable |= seen.contains(PollFlags::IN);
        self.writable |= seen.contains(PollFlags::OUT);
        if seen.intersects(PollFlags::HUP | PollFlags::ERR) {
            self.hang_up();
        }
    }

    /// Since when there is nobody at the other end of the socket pair, while bytes of theirs are still to be sent.
    pub(super) fn unsent_since(&self) -> Option<Instant> {
        self.hung_up.filter(|_| self.socket.is_some())
    }

    /// Whether the user's bytes are still on their way to the peer.
    pub(super) fn has_unsent(&self) -> bool {
        self.socket.is_some() && !(self.up_ended && self.up.is_empty())
    }

    /// Whether nobody is served any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.socket.is_none()
    }

    /// Serves the user no longer; the channel remains to be closed.
    pub(super) fn abandon(&mut self, why: Option<&str>) {
        if let (Some(report), Some(why), true) = (&self.report, why, self.socket.is_some()) {
            append_line(&report.errors, why);
        }
        self.socket = None;
        self.down = Buffer::new(0);
        if !self.writing {
            self.up = Buffer::new(0);
        }
    }

    /// One round: up, window, down, and what an end on either side asks for.
    pub(super) fn step(&mut self, turn: &mut Turn<'_>) -> Result<Step, Trouble> {
        let mut moved = self.take_up(turn.stopping);
        moved |= self.send_up(turn)?;
        moved |= self.end_up(turn)?;
        moved |= self.widen(turn)?;
        moved |= self.receive(turn)?;
        self.settle()?;
        if self.socket.is_none() {
            return self.close(turn);
        }
        moved |= self.deliver();
        moved |= self.end_down();
        if self.is_over() {
            self.finish();
            moved = true;
        }
        Ok(if moved { Step::Moved } else { Step::Idle })
    }

    /// Whether something has come for this lane since its turn, by the reading of another lane or by its own last one: leave to
    /// send, bytes, or their end.
    pub(super) fn was_served(&self) -> bool {
        if self.socket.is_none() {
            return false;
        }
        let may_send = self.starved && self.channel.write_window().remaining > 0;
        let may_take = self.down.is_empty()
            && !self.down_ended
            && (self.channel.read_window().available > self.left_bytes || self.channel.eof());
        may_send || may_take
    }

    /// Whether the user is served with all but how the command ended. Another's reading may have met that word: no poll shows it,
    /// and nothing can be asked of the channel without reading, so it must be asked again after a while.
    pub(super) fn awaits_end(&self) -> bool {
        self.socket.is_some() && self.report.is_some() && self.down_ended && !self.remote_closed
    }

    /// Reads packets until there are none, without taking anything from this channel; whether it could.
    pub(super) fn pump(&mut self) -> Result<bool, Trouble> {
        // Each reads until its own end of the channel has come; beyond both there is nothing to wait for.
        for wait in [Channel::wait_eof, Channel::wait_close] {
            match wait(&mut self.channel) {
                Ok(()) => {}
                Err(error) if is_fatal(&error) => return Err(trouble(&error)),
                Err(_) => return Ok(true),
            }
        }
        Ok(false)
    }

    fn hang_up(&mut self) {
        if self.hung_up.is_none() {
            self.hung_up = Some(Instant::now());
            // What was written before is still there to be read.
            self.readable = true;
            self.down.clear();
        }
    }

    fn take_up(&mut self, stopping: bool) -> bool {
        let Some(socket) = &self.socket else { return false };
        if !self.readable || !self.up.is_empty() || self.up_ended {
            return false;
        }
        match { socket }.read(&mut self.up.bytes) {
            Ok(0) => self.up_ended = true,
            Ok(n) => {
                // Once the user has gone, nothing is polled for any more: the end itself must be read.
                self.readable = n == self.up.bytes.len() || self.hung_up.is_some();
                self.up.fill(n);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                self.up_ended = stopping;
                return stopping;
            }
            Err(_) => {
                self.up_ended = true;
                self.hang_up();
            }
        }
        true
    }

    fn send_up(&mut self, turn: &mut Turn<'_>) -> Result<bool, Trouble> {
        self.starved = false;
        if self.up.is_empty() {
            return Ok(false);
        }
        if !self.writing {
            if self.socket.is_none() || self.remote_closed {
                self.up.clear();
                return Ok(true);
            }
            if turn.urgent {
                return Ok(false);
            }
            let left = self.channel.write_window().remaining;
            // Only the peer can enlarge it.
            *turn.heard |= left > self.up_window;
            self.up_window = left;
            if left == 0 {
                self.starved = true;
                return Ok(false);
            }
        }
        match self.channel.write(self.up.filled()) {
            Ok(n) => {
                self.writing = false;
                self.up_window = self.up_window.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));
                self.up.consume(n);
                Ok(n > 0)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.writing = true;
                Ok(false)
            }
            Err(e) => Err(io_trouble(turn.session, &e)),
        }
    }

    /// Tells the peer that nothing more will come, while it may go on sending.
    ///
    /// Called from one place only and never inlined: libssh2 knows a half-sent end-of-file by its address on the stack.
    #[inline(never)]
    fn end_up(&mut self, turn: &mut Turn<'_>) -> Result<bool, Trouble> {
        let no_more = self.up_ended && !self.remote_closed && self.hung_up.is_none();
        let begun = *turn.control == Some(self.id);
        let due = self.up.is_empty() && !self.eof_sent && (begun || no_more || self.socket.is_none());
        if !due || !self.may_control(turn) {
            return Ok(false);
        }
        let sent = self.channel.send_eof();
        self.eof_sent = self.controlled(turn, sent)?;
        Ok(self.eof_sent)
    }

    /// Keeps more under way than libssh2 does by itself, for long round trips.
    fn widen(&mut self, turn: &mut Turn<'_>) -> Result<bool, Trouble> {
        if self.adjustment.is_none() && turn.window > MIN_WINDOW && !self.down_ended && self.socket.is_some() {
            let left = self.channel.read_window().remaining;
            if left < turn.window / 4 * 3 {
                self.adjustment = Some(u64::from(turn.window - left));
            }
        }
        let Some(bytes) = self.adjustment else { return Ok(false) };
        match self.channel.adjust_receive_window(bytes, true) {
            Ok(_) => self.adjustment = None,
            Err(error) if is_fatal(&error) => return Err(trouble(&error)),
            Err(_) => *turn.waiting = true,
        }
        Ok(false)
    }

    fn receive(&mut self, turn: &mut Turn<'_>) -> Result<bool, Trouble> {
        if self.socket.is_none() || !self.down.is_empty() {
            return Ok(false);
        }
        if self.down_ended {
            return self.look_for_close(turn);
        }
        *turn.pumped = true;
        match self.channel.read(&mut self.down.bytes) {
            Ok(n) => {
                if n > 0 {
                    *turn.heard = true;
                    self.reading = false;
                    self.down.fill(n);
                    return Ok(true);
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => self.note_blocked_read(turn),
            Err(e) => return Err(io_trouble(turn.session, &e)),
        }
        self.left_bytes = self.channel.read_window().available;
        if self.report.is_some() && self.left_bytes > 0 {
            return self.receive_errors(turn);
        }
        self.down_ended = self.channel.eof();
        Ok(self.down_ended)
    }

    /// Only after a read of stdout found nothing: both share `down`, so that the length offered is the same.
    fn receive_errors(&mut self, turn: &mut Turn<'_>) -> Result<bool, Trouble> {
        match self.channel.stderr().read(&mut self.down.bytes) {
            Ok(n) => {
                if let Some(report) = &self.report {
                    append(&report.errors, &self.down.bytes[..n]);
                }
                Ok(n > 0)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.note_blocked_read(turn);
                Ok(false)
            }
            Err(e) => Err(io_trouble(turn.session, &e)),
        }
    }

    fn note_blocked_read(&mut self, turn: &mut Turn<'_>) {
        self.reading = output_blocked(turn.session);
        *turn.waiting |= self.reading;
    }

    /// Finishes a window adjustment where no read will do it any more. Of a finished one, nothing is sent.
    fn settle(&mut self) -> Result<(), Trouble> {
        if self.reading && (self.down_ended || self.socket.is_none()) {
            match self.channel.adjust_receive_window(0, true) {
                Ok(_) => self.reading = false,
                Err(error) if is_fatal(&error) => return Err(trouble(&error)),
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn look_for_close(&mut self, turn: &mut Turn<'_>) -> Result<bool, Trouble> {
        if self.remote_closed {
            return Ok(false);
        }
        *turn.pumped = true;
        match self.channel.wait_close() {
            Ok(()) => self.remote_closed = true,
            Err(error) if is_fatal(&error) => return Err(trouble(&error)),
            Err(_) => {}
        }
        Ok(self.remote_closed)
    }

    /// One buffer for each step, so that no lane keeps the others waiting.
    fn deliver(&mut self) -> bool {
        let Some(socket) = &self.socket else { return false };
        if self.down.is_empty() {
            return false;
        }
        if self.hung_up.is_some() {
            self.down.clear();
            return true;
        }
        if !self.writable {
            return false;
        }
        match { socket }.write(self.down.filled()) {
            Ok(n) => {
                self.down.consume(n);
                self.writable = self.down.is_empty();
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                return false;
            }
            Err(_) => self.hang_up(),
        }
        true
    }

    /// Tells the user that nothing more will come. For a command that waits until it is known how it ended.
    fn end_down(&mut self) -> bool {
        let due = self.down_ended && self.down.is_empty() && !self.down_shut && self.report.is_none();
        let Some(socket) = self.socket.as_ref().filter(|_| due) else { return false };
        // Fails only where nobody is left to be told.
        let _told = socket.shutdown(Shutdown::Write);
        self.down_shut = true;
        true
    }

    fn is_over(&self) -> bool {
        let sent = self.up_ended && self.up.is_empty();
        let delivered = self.down_ended && self.down.is_empty();
        (self.hung_up.is_some() && sent) || (self.remote_closed && delivered) || (self.eof_sent && self.down_shut)
    }

    fn finish(&mut self) {
        let ending = self.report.is_some().then(|| self.ending()).flatten();
        let words = ending.as_ref().map(Ending::to_string);
        // RACE: whoever reads the stream looks for the ending at its end: it must be there first.
        if let (Some(report), Some(ending)) = (&self.report, ending) {
            report.ending.get_or_init(|| ending);
        }
        self.abandon(words.as_deref());
    }

    /// How the command ended, as far as the peer said.
    fn ending(&self) -> Option<Ending> {
        if !self.remote_closed {
            return None;
        }
        let signal = self.channel.exit_signal().ok().and_then(|signal| signal.exit_signal);
        signal.map(Ending::Signal).or_else(|| self.channel.exit_status().ok().map(Ending::Status))
    }

    /// Closes the channel once nothing that this lane began is half-sent.
    fn close(&mut self, turn: &mut Turn<'_>) -> Result<Step, Trouble> {
        let busy = self.writing || self.reading || self.adjustment.is_some();
        if busy || !self.eof_sent || !self.may_control(turn) {
            return Ok(Step::Idle);
        }
        let closed = self.channel.close();
        Ok(if self.controlled(turn, closed)? { Step::Done } else { Step::Idle })
    }

    fn may_control(&self, turn: &mut Turn<'_>) -> bool {
        let free = match *turn.control {
            Some(owner) => owner == self.id,
            None => !output_blocked(turn.session),
        };
        *turn.waiting |= !free;
        free
    }

    /// The outcome of sending end-of-file or close: whether it is done. Keeps other lanes from it while it is half-sent.
    fn controlled(&self, turn: &mut Turn<'_>, result: Result<(), ssh2::Error>) -> Result<bool, Trouble> {
        let waiting = matches!(&result, Err(error) if !is_fatal(error));
        *turn.control = (waiting && output_blocked(turn.session)).then_some(self.id);
        match result {
            Ok(()) => Ok(true),
            Err(_) if waiting => Ok(false),
            Err(error) => Err(trouble(&error)),
        }
    }
}

/// Whether libssh2 holds a packet that the socket has not taken whole.
pub(super) fn output_blocked(session: &Session) -> bool {
    matches!(session.block_directions(), BlockDirections::Outbound | BlockDirections::Both)
}

/// Whether an error is more than "not now".
pub(super) fn is_fatal(error: &ssh2::Error) -> bool {
    error_code(error) != raw::LIBSSH2_ERROR_EAGAIN
}

/// Tells an error of one channel from one of the session.
pub(super) fn trouble(error: &ssh2::Error) -> Trouble {
    match error_code(error) {
        raw::LIBSSH2_ERROR_CHANNEL_EOF_SENT..=raw::LIBSSH2_ERROR_CHANNEL_FAILURE => {
            Trouble::Lane(error.message().to_lowercase())
        }
        _ => Trouble::Session(broken(error)),
    }
}

/// The same for reads and writes, whose errors have lost their number on the way.
fn io_trouble(session: &Session, error: &std::io::Error) -> Trouble {
    match ssh2::Error::last_session_error(session) {
        Some(error) => trouble(&error),
        None => Trouble::Session(MuxError::Broken(error.to_string().to_lowercase())),
    }
}

/// In words what ended the session.
pub(super) fn broken(error: &ssh2::Error) -> MuxError {
    MuxError::Broken(match error_code(error) {
        raw::LIBSSH2_ERROR_SOCKET_RECV | raw::LIBSSH2_ERROR_SOCKET_DISCONNECT | raw::LIBSSH2_ERROR_SOCKET_SEND => {
            "the connection was closed from the other side".into()
        }
        _ => error.message().to_lowercase(),
    })
}
