//! Whoever holds a Pi's port on the jump host relays: one kind of host key from the Pi, every other from a machine of his own.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use local_fleet::Fleet;

use crate::scene::{PI_PASSWORD, Scene, authorized, fingerprint, public_key, run};

/// What a relay does with the connections that it gets.
struct Relay {
    /// Where it listens.
    port: u16,
    /// Sends everything to the other machine from now on.
    all: Arc<AtomicBool>,
    /// How many went to the other machine.
    strayed: Arc<AtomicUsize>,
}

impl Relay {
    fn between(real: u16, other: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (all, strayed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (every, count) = (all.clone(), strayed.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (every, count) = (every.clone(), count.clone());
                // A client that goes away in the middle is none of its troubles.
                thread::spawn(move || relay(client, real, other, &every, &count));
            }
        });
        Relay { port, all, strayed }
    }
}

fn relay(mut client: TcpStream, real: u16, other: u16, all: &AtomicBool, strayed: &AtomicUsize) -> io::Result<()> {
    // Both say the same banner, so that the client's first packet can be had before one of them is chosen.
    let mut machines = [TcpStream::connect(("127.0.0.1", real))?, TcpStream::connect(("127.0.0.1", other))?];
    let banners = [line(&mut machines[0])?, line(&mut machines[1])?];
    assert_eq!(banners[0], banners[1]);
    client.write_all(&banners[0])?;
    let mut said = line(&mut client)?;
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut packet = vec![0; u32::from_be_bytes(length) as usize];
    client.read_exact(&mut packet)?;
    // Length of the padding, type, cookie; then the list of key exchanges and that of host keys.
    let exchanges = list(&packet[18..]);
    let wants = String::from_utf8_lossy(list(&packet[22 + exchanges.len()..])).into_owned();
    let strays = all.load(Ordering::SeqCst) || !wants.split(',').any(|kind| kind == "ssh-ed25519");
    strayed.fetch_add(usize::from(strays), Ordering::SeqCst);
    let machine = &mut machines[usize::from(strays)];
    said.extend([&length[..], &packet].concat());
    machine.write_all(&said)?;
    let (mut back, mut to_client) = (machine.try_clone()?, client.try_clone()?);
    let answers = thread::spawn(move || {
        io::copy(&mut back, &mut to_client).ok();
        to_client.shutdown(Shutdown::Both)
    });
    io::copy(&mut client, machine).ok();
    machine.shutdown(Shutdown::Write)?;
    answers.join().unwrap()
}

fn line(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.extend(byte);
    }
    Ok(line)
}

/// A list of names: length and text.
fn list(bytes: &[u8]) -> &[u8] {
    let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    &bytes[4..4 + length]
}

#[test]
fn one_yes_lets_nobody_else_pose_as_the_pi() {
    // Every machine has a key of another kind, as real ones have.
    let dir = tempfile::tempdir().unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ecdsa", "-N", "", "-f"]).arg(dir.path().join("ecdsa"));
    run(keygen, "").expect(0);
    let second = format!("HostKey {}\n", dir.path().join("ecdsa").display());
    let scene = Scene::new(Fleet::builder().pis(2).ids(&[31, 34]).pi_config(&second));
    scene.init(&[]).expect(0);
    let (pi, other) = (scene.fleet.pi(31), scene.fleet.pi(34));
    let relay = Relay::between(pi.port(), other.port());
    let config = scene.home(".ssh/config");
    let by_hand = format!(
        "{}Host raspberry31\n  HostName localhost\n  Port {}\n  User pi\n  ProxyJump awsbox\n  HostKeyAlias raspberry31\n  \
         IdentityFile ~/.ssh/raspberry31\n  IdentitiesOnly yes\n",
        fs::read_to_string(&config).unwrap(),
        relay.port
    );
    fs::write(&config, by_hand).unwrap();
    let known_hosts = fs::read_to_string(scene.home(".ssh/known_hosts")).unwrap();

    let mut terminal = scene.at_terminal(&["add-pi".to_owned(), "31".to_owned()]);
    terminal.wait_for("Password of pi on raspberry31");
    terminal.type_unseen(PI_PASSWORD);
    terminal.wait_for(&fingerprint(pi));
    terminal.wait_for("Is this raspberry31?");
    terminal.press(b'y');
    let (status, shown) = terminal.end();
    assert!(status.success(), "{shown}");
    assert!(relay.strayed.load(Ordering::SeqCst) > 0, "no other kind of host key was asked for");
    assert_eq!((authorized(pi), authorized(other)), (public_key(&scene, "raspberry31"), String::new()));
    let pinned = fs::read_to_string(scene.home(".ssh/known_hosts")).unwrap();
    let pinned: Vec<&str> = pinned.strip_prefix(&known_hosts).unwrap().lines().collect();
    assert!(pinned.len() == 1 && pinned[0].contains(" ssh-ed25519 "), "{pinned:?}");
    scene.keytool(&["check", "31"], "").expect(0).says(&["right", "works"]);
    scene.ssh(&["raspberry31", "true"]).expect(0);

    // From now on he keeps everything to himself: neither of us is deceived, and no password is sent.
    relay.all.store(true, Ordering::SeqCst);
    scene.keytool(&["check", "31"], "").expect(3).says(&["WRONG"]);
    scene.add_pi(&["31"], PI_PASSWORD).expect(3);
    scene.ssh(&["raspberry31", "true"]).expect(255).says(&["REMOTE HOST IDENTIFICATION HAS CHANGED"]);
    let log = fs::read_to_string(other.log()).unwrap();
    assert!(!log.contains("Accepted") && !log.contains("Failed password"), "{log}");
}
