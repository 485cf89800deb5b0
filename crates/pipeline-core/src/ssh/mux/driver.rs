//! The thread that drives a session: opens, steps every lane as long as anything moves, and only then waits.
//!
//! Guarantees that nothing is polled busily, that one open is in flight at a time (libssh2 keeps its state in the session), and
//! that the failure is known before the first lane ends.

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use libssh2_sys as raw;
use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt::set_socket_send_buffer_size;
use ssh2::{Channel, Session};

use super::lane::{Lane, Step, Trouble, Turn, broken, is_fatal, output_blocked, trouble};
use super::{ErrorTail, Failure, MIN_WINDOW, MuxError, OpenError, Opened, Options, Report, Request, Shared, Target};
use crate::ssh::patience::{LOOK, poll, poll_one};
use crate::ssh::session::{Transport, error_code};

/// What a socket pair holds in each direction, where the system allows it: fewer and larger hand-overs.
const SOCKET_BYTES: usize = 2 * 1024 * 1024;
/// The largest packet that the peer may send, as OpenSSH and libssh2 have it.
const PACKET_BYTES: u32 = 32 * 1024;
/// So many rounds without a look at who else has something to do: a fast stream must not keep the others from being seen.
const PASSES: u32 = 8;
/// How long bytes of a user who has gone may still wait for the peer to take them.
const UNSENT_WAIT: Duration = Duration::from_secs(5);
/// How long a mux that is being given up still sends what its users wrote.
const STOP_WAIT: Duration = Duration::from_secs(1);
/// The peer is asked this often within the silence allowed.
const QUESTIONS: u32 = 3;
/// How libssh2 begins to say that a request has not left yet. A stale one costs the others a moment.
const STILL_SENDING: &str = "Would block sending";
/// libssh2 takes an interval of one second for two.
const MIN_INTERVAL: Duration = Duration::from_secs(2);

pub(super) struct Driver {
    session: Session,
    socket: OwnedFd,
    options: Options,
    wake: UnixStream,
    requests: Receiver<Request>,
    shared: Arc<Shared>,
    opening: VecDeque<Opening>,
    lanes: Vec<Lane>,
    next_id: u64,
    control: Option<u64>,
    pulse: Pulse,
    /// Packets may lie in the session's socket.
    input: bool,
    /// Somebody waits for the output to be free.
    urgent: bool,
    /// No lane can read them: do not wait for more.
    deaf: bool,
    /// When the mux was given up.
    stopping: Option<Instant>,
}

/// A lane that is being opened.
struct Opening {
    request: Request,
    /// libssh2 has been called for it.
    begun: bool,
    /// For a command: its channel, once that is open.
    channel: Option<Channel>,
}

/// Asks a silent peer to answer, and tells when it has not.
struct Pulse {
    interval: Duration,
    next: Instant,
    unanswered: u32,
}

impl Pulse {
    fn new(silence: Duration) -> Pulse {
        // Dead is who leaves the last of the questions unanswered for another interval.
        let interval = (silence / (QUESTIONS + 1)).max(MIN_INTERVAL);
        Pulse { interval, next: Instant::now() + interval, unanswered: 0 }
    }
}

impl Driver {
    pub(super) fn new(
        transport: Transport,
        options: Options,
        wake: UnixStream,
        requests: Receiver<Request>,
        shared: Arc<Shared>,
    ) -> Driver {
        let Transport { session, socket } = transport;
        let pulse = Pulse::new(options.silence);
        Driver {
            session,
            socket,
            options,
            wake,
            requests,
            shared,
            opening: VecDeque::new(),
            lanes: Vec::new(),
            next_id: 0,
            control: None,
            pulse,
            input: false,
            urgent: false,
            deaf: false,
            stopping: None,
        }
    }

    /// Serves until the mux is dropped or the session ends.
    pub(super) fn run(mut self) {
        self.session.set_blocking(false);
        let seconds = u32::try_from(self.pulse.interval.as_secs()).unwrap_or(u32::MAX);
        self.session.set_keepalive(true, seconds);
        if let Err(error) = self.drive() {
            // RACE: users of the lanes look for the reason as soon as their lane ends: it must be there first.
            let _first = self.shared.failure.set(Failure { at: Instant::now(), error: error.clone() });
            let words = format!("the connection was lost: {error}");
            self.lanes.iter_mut().for_each(|lane| lane.abandon(Some(&words)));
            for opening in self.opening.drain(..).map(|o| o.request).chain(self.requests.try_iter()) {
                let _gone = opening.reply.send(Err(OpenError::Lost(error.clone())));
            }
        } else if !output_blocked(&self.session) {
            let _best_effort = self.session.disconnect(None, "done", None);
        }
        // Without this, freeing channels and session would wait for a peer that may not be there.
        let _closed = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    fn drive(&mut self) -> Result<(), MuxError> {
        loop {
            let mut idle = false;
            for _ in 0..PASSES {
                idle = !self.pass()?;
                if idle {
                    break;
                }
            }
            if self.is_finished() {
                return Ok(());
            }
            self.wait(idle)?;
        }
    }

    fn is_finished(&self) -> bool {
        let Some(since) = self.stopping else { return false };
        !self.lanes.iter().any(Lane::has_unsent) || since.elapsed() >= STOP_WAIT
    }

    /// One round over everything; whether anything moved.
    fn pass(&mut self) -> Result<bool, MuxError> {
        let (mut pumped, mut heard) = (!self.opening.is_empty(), false);
        let urgent = std::mem::take(&mut self.urgent);
        let mut moved = self.open()?;
        let mut turn = Turn {
            session: &self.session,
            window: self.options.window,
            control: &mut self.control,
            pumped: &mut pumped,
            heard: &mut heard,
            urgent,
            waiting: &mut self.urgent,
            stopping: self.stopping.is_some(),
        };
        let mut index = 0;
        while let Some(lane) = self.lanes.get_mut(index) {
            match lane.step(&mut turn) {
                Ok(Step::Idle) => index += 1,
                Ok(Step::Moved) => {
                    moved = true;
                    index += 1;
                }
                Ok(Step::Done) => {
                    self.lanes.swap_remove(index);
                }
                Err(Trouble::Lane(_)) if lane.is_abandoned() => {
                    self.lanes.swap_remove(index);
                }
                Err(Trouble::Lane(words)) => {
                    lane.abandon(Some(&words));
                    moved = true;
                }
                Err(Trouble::Session(error)) => return Err(error),
            }
        }
        if heard {
            self.pulse.unanswered = 0;
        }
        if self.input && !pumped {
            moved |= self.pump()?;
        }
        self.input = false;
        // A lane that closes reads what comes, the answer to an open among it; no poll would show that any more.
        moved |= self.open()?;
        moved |= self.lanes.iter().any(Lane::was_served);
        // What was held back for somebody's sake has its turn next.
        Ok(moved || (urgent && !output_blocked(&self.session)))
    }

    /// Reads packets although no lane may take any: windows may have grown, and the peer may have asked whether we live.
    fn pump(&mut self) -> Result<bool, MuxError> {
        for lane in &mut self.lanes {
            match lane.pump() {
                Ok(true) => return Ok(true),
                Ok(false) | Err(Trouble::Lane(_)) => {}
                Err(Trouble::Session(error)) => return Err(error),
            }
        }
        self.deaf = true;
        Ok(false)
    }

    /// Goes on with the first of the opens.
    fn open(&mut self) -> Result<bool, MuxError> {
        let Some(opening) = self.opening.front_mut() else { return Ok(false) };
        if !opening.begun {
            if !opening.request.claim.take() {
                self.opening.pop_front();
                return Ok(true);
            }
            opening.begun = true;
            *self.shared.opening() = Some(Instant::now());
        }
        match opening.advance(&self.session, self.options.window) {
            Ok(channel) => {
                if let Some(opening) = self.next_opening() {
                    self.admit(&opening.request, channel);
                }
                Ok(true)
            }
            Err(error) if !is_fatal(&error) => {
                self.urgent |= error.message().starts_with(STILL_SENDING) && output_blocked(&self.session);
                Ok(false)
            }
            Err(error) => {
                let refusal = refusal(&error).ok_or_else(|| broken(&error))?;
                if let Some(opening) = self.next_opening() {
                    let id = self.new_id();
                    self.lanes.extend(opening.channel.map(|channel| Lane::closing(id, channel)));
                    let _gone = opening.request.reply.send(Err(refusal));
                }
                Ok(true)
            }
        }
    }

    fn next_opening(&mut self) -> Option<Opening> {
        *self.shared.opening() = None;
        self.opening.pop_front()
    }

    /// Makes a lane of an open channel and gives the other end away. If nobody takes it, the lane closes by itself.
    fn admit(&mut self, request: &Request, channel: Channel) {
        let id = self.new_id();
        match socket_pair() {
            Ok((ours, theirs)) => {
                let errors = ErrorTail::default();
                let ending = Arc::default();
                let command = !matches!(request.target, Target::Tcp(..));
                let report = command.then(|| Report { errors: errors.clone(), ending: Arc::clone(&ending) });
                self.lanes.push(Lane::new(id, channel, ours, report));
                let _gone = request.reply.send(Ok(Opened { stream: theirs, errors, ending }));
            }
            Err(error) => {
                self.lanes.push(Lane::closing(id, channel));
                let _gone = request.reply.send(Err(OpenError::Local(error)));
            }
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Looks at everything that can have something to do, and waits for it where nothing is left to do.
    fn wait(&mut self, idle: bool) -> Result<(), MuxError> {
        let serving = !(self.lanes.is_empty() && self.opening.is_empty());
        // Immediately before polling: an answer that came in between would be read without being noticed.
        self.look_at_clock(serving)?;
        let mut wanted = PollFlags::empty();
        // Without a lane there is nothing to read with: what the peer sends waits until there is one.
        let deaf = std::mem::take(&mut self.deaf);
        wanted.set(PollFlags::IN, serving && !deaf);
        // But a peer that has closed is noticed: the next who needs the connection must not find it dead.
        wanted.set(PollFlags::RDHUP, !serving);
        wanted.set(PollFlags::OUT, output_blocked(&self.session));
        let mut fds = Vec::with_capacity(self.lanes.len() + 2);
        fds.push(PollFd::new(&self.socket, wanted));
        fds.push(PollFd::new(&self.wake, PollFlags::IN));
        fds.extend(self.lanes.iter().filter_map(Lane::interest).map(|(socket, wanted)| PollFd::new(socket, wanted)));
        let limit = if idle { self.patience(serving) } else { Duration::ZERO };
        poll(&mut fds, limit).map_err(|error| MuxError::Broken(std::io::Error::from(error).to_string()))?;
        let seen: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let mut lanes_seen = seen.iter().skip(2);
        for lane in self.lanes.iter_mut().filter(|lane| lane.interest().is_some()) {
            lane.note(lanes_seen.next().copied().unwrap_or(PollFlags::empty()));
        }
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::RDHUP;
        if seen[0].intersects(PollFlags::IN | gone) {
            self.input = true;
            self.pulse.unanswered = 0;
            if !serving && seen[0].intersects(gone) {
                return Err(MuxError::Broken("the connection was closed from the other side".into()));
            }
        }
        if !seen[1].is_empty() {
            self.take_requests();
        }
        Ok(())
    }

    /// How long there is nothing to do unless something is seen.
    fn patience(&self, serving: bool) -> Duration {
        let pulse = serving.then_some(self.pulse.next);
        let unsent = self.lanes.iter().filter_map(Lane::unsent_since).map(|since| since + UNSENT_WAIT).min();
        let stop = self.stopping.map(|since| since + STOP_WAIT);
        let end = self.lanes.iter().any(Lane::awaits_end).then(|| Instant::now() + LOOK);
        let due = [pulse, unsent, stop, end].into_iter().flatten().min();
        due.map_or(Duration::from_secs(3600), |due| due.saturating_duration_since(Instant::now()))
    }

    fn take_requests(&mut self) {
        // The bytes mean nothing, and there may be fewer of them than requests.
        let _drained = (&self.wake).read(&mut [0; 256]);
        loop {
            match self.requests.try_recv() {
                Ok(request) => self.opening.push_back(Opening { request, begun: false, channel: None }),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.stopping.get_or_insert_with(Instant::now);
                    return;
                }
            }
        }
    }

    fn look_at_clock(&mut self, serving: bool) -> Result<(), MuxError> {
        let now = Instant::now();
        for lane in &mut self.lanes {
            if lane.unsent_since().is_some_and(|since| now.duration_since(since) >= UNSENT_WAIT) {
                lane.abandon(None);
            }
        }
        if now < self.pulse.next {
            return Ok(());
        }
        self.pulse.next = now + self.pulse.interval;
        if !serving {
            self.pulse.unanswered = 0;
            return Ok(());
        }
        if self.pulse.unanswered >= QUESTIONS {
            return Err(MuxError::Silent(self.options.silence));
        }
        self.pulse.unanswered += 1;
        // The question lies on libssh2's stack: it may be sent only where it can't be held up. A peer that takes nothing
        // from us and says nothing is asked already.
        let free = !output_blocked(&self.session)
            && poll_one(&self.socket, PollFlags::OUT, Duration::ZERO).contains(PollFlags::OUT);
        if free {
            self.session.keepalive_send().map_err(|error| broken(&error))?;
        }
        Ok(())
    }
}

impl Opening {
    /// Goes on with this open; the same call is repeated as long as it would block.
    fn advance(&mut self, session: &Session, window: u32) -> Result<Channel, ssh2::Error> {
        if let Target::Tcp(host, port) = &self.request.target {
            return session.channel_direct_tcpip(host, *port, None);
        }
        let channel = match &mut self.channel {
            Some(channel) => channel,
            none => none.insert(session.channel_open("session", window.max(MIN_WINDOW), PACKET_BYTES, None)?),
        };
        match &self.request.target {
            Target::Tcp(..) => {}
            Target::Exec(command) => channel.exec(command)?,
            Target::Subsystem(name) => channel.subsystem(name)?,
        }
        Ok(channel.clone())
    }
}

/// What an error says of one open; none where it says that the session is broken.
fn refusal(error: &ssh2::Error) -> Option<OpenError> {
    // libssh2 waits no longer than a minute for an answer.
    if error_code(error) == raw::LIBSSH2_ERROR_TIMEOUT {
        return Some(OpenError::TimedOut);
    }
    let Trouble::Lane(words) = trouble(error) else { return None };
    Some(match words {
        words if words.contains("connect failed") => OpenError::Refused,
        words if words.contains("administratively prohibited") => OpenError::Prohibited,
        words => OpenError::Denied(words),
    })
}

fn socket_pair() -> std::io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    for socket in [&ours, &theirs] {
        set_socket_send_buffer_size(socket, SOCKET_BYTES)?;
    }
    Ok((ours, theirs))
}
