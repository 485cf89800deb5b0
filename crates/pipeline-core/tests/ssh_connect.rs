//! The way to a device: hops, and the many ways in which a device can be away.

#![cfg(feature = "ssh")]
#![allow(clippy::unwrap_used)]

mod ssh_fixture;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use local_fleet::Fleet;
use pipeline_core::cancel::Cancel;
use pipeline_core::config::Timeouts;
use pipeline_core::error::{Class, Classified, one_line};
use pipeline_core::event::Event;
use pipeline_core::ssh::patience::poll_one;
use pipeline_core::ssh::{Connection, Connector, Options, SshError};
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with};
use ssh_fixture::*;

fn impatient() -> Options {
    Options { timeouts: Timeouts { connect: Duration::from_secs(5), idle: LONG }, ..options() }
}

fn error(connector: &Connector, alias: &str) -> SshError {
    match connector.reach(&name(alias), &()) {
        Ok(_) => panic!("{alias} was reached"),
        Err(error) => error,
    }
}

fn said(connection: &Connection, command: &str) -> String {
    let lane = connection.mux.exec(command, &patience()).unwrap();
    String::from_utf8(read_all(&lane.stream)).unwrap()
}

/// Starts a command that answers each line, and waits until it does.
fn conversation(connection: &Connection) -> UnixStream {
    let lane = connection.mux.exec("cat", &patience()).unwrap();
    lane.stream.set_read_timeout(Some(LONG)).unwrap();
    assert!(answers(&lane.stream));
    lane.stream
}

fn answers(mut stream: &UnixStream) -> bool {
    let mut line = [0; 6];
    stream.write_all(b"hello\n").is_ok() && stream.read_exact(&mut line).is_ok() && &line == b"hello\n"
}

fn jump_logins(fleet: &Fleet) -> usize {
    let log = std::fs::read_to_string(fleet.jump().log()).unwrap();
    log.lines().filter(|line| line.contains("Accepted publickey") && line.contains("ssh2")).count()
}

#[test]
fn a_device_that_is_away_says_how() {
    let fleet = Fleet::builder().pis(1).offline(1).silent(1).start().unwrap();
    let closing = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closing.local_addr().unwrap().port();
    thread::spawn(move || closing.incoming().for_each(drop));
    let config = format!(
        "Include {}\nHost closing\n HostName 127.0.0.1\n Port {port}\n ProxyJump awsbox\n HostKeyAlias closing\n",
        fleet.ssh_config().display()
    );
    let connector = connector_with(&fleet, &config, impatient());
    let logins = jump_logins(&fleet);

    let connection = connector.reach(&name("raspberry1"), &()).unwrap();
    assert_eq!(said(&connection, "echo $HOME"), format!("{}\n", fleet.pi(1).home().display()));

    let no_tunnel = error(&connector, "raspberry2");
    assert!(matches!(no_tunnel, SshError::NoTunnel { .. }), "{}", one_line(&no_tunnel));
    let half_open = error(&connector, "raspberry3");
    assert!(matches!(half_open, SshError::NoBanner { .. }), "{}", one_line(&half_open));
    assert!(half_open.hint().unwrap().contains("ClientAliveInterval 30"));
    let closes = error(&connector, "closing");
    assert!(matches!(closes, SshError::ClosedAtOnce { .. }), "{}", one_line(&closes));
    for error in [no_tunnel, half_open, closes] {
        assert_eq!(error.class(), Class::Unreachable);
    }
    // All four together needed one login at the jump host.
    assert_eq!(jump_logins(&fleet), logins + 1);
}

#[test]
fn a_server_that_stops_in_mid_handshake_is_timed_out() {
    let fleet = Fleet::builder().pis(0).start().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            stream.write_all(b"SSH-2.0-slow\r\n").unwrap();
            held.push(stream);
        }
    });
    let config = format!("Host slow\n HostName 127.0.0.1\n Port {port}\n");
    let options = Options { timeouts: Timeouts { connect: Duration::from_secs(1), idle: LONG }, ..options() };
    let error = error(&connector_with(&fleet, &config, options), "slow");
    assert!(matches!(error, SshError::TimedOut { .. }), "{}", one_line(&error));
    assert_eq!(error.class(), Class::Unreachable);
}

#[test]
fn a_jump_host_that_is_away_is_tried_once_for_all() {
    let fleet = Fleet::builder().pis(0).start().unwrap();
    // Accepts, counts, and closes.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let attempts = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = attempts.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            drop(stream);
        }
    });
    let config = format!("Host jump\n HostName 127.0.0.1\n Port {port}\nHost pi*\n ProxyJump jump\n");
    let connector = connector_with(&fleet, &config, options());
    let recorder = Recorder::default();
    thread::scope(|scope| {
        for pi in 0..8 {
            let (connector, recorder) = (&connector, &recorder);
            scope.spawn(move || {
                let error = connector.reach(&name(&format!("pi{pi}")), recorder).err().unwrap();
                let SshError::Hop { hop, source } = &error else { panic!("{}", one_line(&error)) };
                assert_eq!(hop, "jump");
                assert!(matches!(**source, SshError::ClosedAtOnce { .. }));
                assert_eq!(error.class(), Class::Unreachable);
            });
        }
    });
    assert_eq!(attempts.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(recorder.count(|event| matches!(event, Event::Noted { device: None, .. })), 1);
}

#[test]
fn direct_and_nested_routes_lead_to_the_same_machine() {
    let fleet = Fleet::builder().pis(2).tunnels(false).start().unwrap();
    let config = format!(
        "Host direct\n ProxyJump none\n HostName 127.0.0.1\n\
         Host second\n ProxyJump awsbox\n HostName 127.0.0.1\n Port {one}\n HostKeyAlias raspberry1\n\
         Host nested\n ProxyJump second\n HostName 127.0.0.1\n\
         Host direct nested\n Port {two}\n HostKeyAlias raspberry2\n\
         Host *\n IdentityFile {{root}}/ssh/id_ed25519\n UserKnownHostsFile {{root}}/ssh/known_hosts\n User {user}\n\
         Include {include}\n",
        one = fleet.pi(1).port(),
        two = fleet.pi(2).port(),
        user = whoami(),
        include = fleet.ssh_config().display()
    );
    let connector = connector_with(&fleet, &config, options());
    let logins = jump_logins(&fleet);
    for alias in ["direct", "nested", "raspberry2"] {
        let connection = connector.reach(&name(alias), &()).unwrap();
        assert_eq!(said(&connection, "echo $HOME"), format!("{}\n", fleet.pi(2).home().display()), "{alias}");
        let bytes = noise(7, 3_000_000);
        let lane = connection.mux.exec("cat", &patience()).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| write_all(&lane.stream, &bytes));
            assert!(read_all(&lane.stream) == bytes, "{alias}");
        });
    }
    assert_eq!(jump_logins(&fleet), logins + 1);
}

fn whoami() -> String {
    let output = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_killed_device_session_is_its_own_affair() {
    let fleet = Fleet::builder().pis(2).tunnels(false).start().unwrap();
    let connector = connector(&fleet, options());
    let began = Instant::now();
    let one = connector.reach(&name("raspberry1"), &()).unwrap();
    let two = connector.reach(&name("raspberry2"), &()).unwrap();
    let (first, second) = (conversation(&one), conversation(&two));
    assert!(fleet.pi(1).kill_sessions() > 0);
    assert_eq!(read_all(&first), b"");
    assert!(one.mux.failure().is_some());
    assert!(answers(&second));
    let settings = device_named(&fleet, "raspberry1");
    assert!(!pipeline_core::remote::Connect::shared_connection_broke(&connector, &settings, began));
}

#[test]
fn a_broken_jump_connection_is_made_once_more_and_not_twice() {
    let fleet = Fleet::builder().pis(2).tunnels(false).start().unwrap();
    let connector = connector(&fleet, options());
    let recorder = Recorder::default();
    let broke = |since| {
        let device = device_named(&fleet, "raspberry1");
        pipeline_core::remote::Connect::shared_connection_broke(&connector, &device, since)
    };
    let began = Instant::now();
    let one = connector.reach(&name("raspberry1"), &recorder).unwrap();
    let first = conversation(&one);
    assert!(!broke(began));
    assert!(fleet.jump().kill_sessions() > 0);
    assert_eq!(read_all(&first), b"");
    assert!(broke(began));

    let second_began = Instant::now();
    thread::scope(|scope| {
        for alias in ["raspberry1", "raspberry2"] {
            let (connector, recorder) = (&connector, &recorder);
            scope.spawn(move || drop(conversation(&connector.reach(&name(alias), recorder).unwrap())));
        }
    });
    assert_eq!(recorder.count(|event| matches!(event, Event::JumpReconnecting { .. })), 1);
    assert!(broke(began) && !broke(second_began));

    assert!(fleet.jump().kill_sessions() > 0);
    eventually("the second death is noticed", || broke(second_began));
    for alias in ["raspberry1", "raspberry2"] {
        let error = connector.reach(&name(alias), &recorder).err().unwrap();
        let SshError::Hop { source, .. } = &error else { panic!("{}", one_line(&error)) };
        assert!(matches!(**source, SshError::HopLost { .. }), "{}", one_line(&error));
        assert_eq!(error.class(), Class::Transient);
    }
    assert_eq!(recorder.count(|event| matches!(event, Event::JumpReconnecting { .. })), 1);
}

/// A port whose machine swallows packets: its queue of connections is full and nobody takes one.
fn swallowing_port() -> (u16, Vec<OwnedFd>) {
    let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let listener = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&listener, &any).unwrap();
    listen(&listener, 0).unwrap();
    let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    let mut held = vec![listener];
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        let _in_progress = connect(&socket, &address);
        let answered = poll_one(&socket, PollFlags::OUT, Duration::from_millis(300)).contains(PollFlags::OUT);
        held.push(socket);
        if !answered {
            return (address.port(), held);
        }
    }
}

/// How many connections to a port of this computer have had no answer yet.
fn unanswered(port: u16) -> usize {
    const SYN_SENT: &str = "02";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!("0100007F:{port:04X}");
    table.lines().filter(|line| line.split_whitespace().skip(2).take(2).eq([remote.as_str(), SYN_SENT])).count()
}

#[test]
fn a_machine_that_swallows_packets_delays_no_other() {
    let fleet = Fleet::builder().pis(1).tunnels(false).start().unwrap();
    let (port, _held) = swallowing_port();
    let config = format!(
        "Include {}\nHost hole*\n HostName 127.0.0.1\n Port {port}\n ProxyJump awsbox\n",
        fleet.ssh_config().display()
    );
    let options = Options { timeouts: Timeouts { connect: Duration::from_secs(20), idle: LONG }, ..options() };
    let cancel = options.cancel.clone();
    let connector = connector_with(&fleet, &config, options);
    let (logins, tried) = (jump_logins(&fleet), unanswered(port));
    thread::scope(|scope| {
        let holes: Vec<_> = ["hole1", "hole2"].map(|hole| scope.spawn(|| error(&connector, hole))).into();
        eventually("the jump host tries the first", || unanswered(port) > tried);
        // It waits behind them, and then goes another way.
        let connection = connector.reach(&name("raspberry1"), &()).unwrap();
        assert!(holes.iter().any(|hole| !hole.is_finished()));
        assert_eq!(said(&connection, "echo here"), "here\n");
        cancel.set();
        for hole in holes {
            let error = hole.join().unwrap();
            assert!(matches!(error.class(), Class::Interrupted | Class::Unreachable), "{}", one_line(&error));
        }
    });
    assert!(jump_logins(&fleet) > logins + 1);
}

#[test]
fn a_wish_to_stop_is_heard_while_connecting() {
    let fleet = Fleet::builder().pis(0).silent(1).start().unwrap();
    let cancel = Cancel::new();
    let connector = connector(&fleet, Options { cancel: cancel.clone(), ..options() });
    let (began, logins) = (Instant::now(), jump_logins(&fleet));
    thread::scope(|scope| {
        let visit = scope.spawn(|| error(&connector, "raspberry1"));
        eventually("the device is being connected", || jump_logins(&fleet) > logins);
        cancel.set();
        assert!(matches!(visit.join().unwrap(), SshError::Stopped));
    });
    assert!(began.elapsed() < LONG / 2);
}

fn device_named(fleet: &Fleet, alias: &str) -> pipeline_core::fleet::Device {
    device(alias, fleet.root())
}
