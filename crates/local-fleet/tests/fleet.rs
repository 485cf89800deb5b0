//! The fixture's own promises, without the programs that it is a fixture for.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{collections::BTreeSet, env, fs, thread};

use local_fleet::{Fleet, Machine};

/// What `ssh HOST COMMAND` printed; fails with what ssh said otherwise.
fn ssh(fleet: &Fleet, host: &str, command: &str) -> String {
    let output = fleet.ssh(host).unwrap().arg(command).output().unwrap();
    assert!(output.status.success(), "{host}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `ssh HOST COMMAND` in the background and returns it with the first line that the command printed.
fn ssh_in_background(fleet: &Fleet, host: &str, command: &str) -> (Child, String, BufReader<ChildStdout>) {
    let mut ssh = fleet.ssh(host).unwrap().arg(command).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(ssh.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    (ssh, line.trim().to_owned(), stdout)
}

/// Whether a process runs; a zombie does not.
fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.starts_with(" Z"))
}

/// Waits for what must come; the deadline is only there to fail.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The first four bytes that a port says within `patience`.
fn banner(port: u16, patience: Duration) -> Result<[u8; 4], ErrorKind> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.kind())?;
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).map(|()| bytes).map_err(|error| error.kind())
}

#[test]
fn each_pi_answers_through_the_jump_host_with_its_own_home_and_key() {
    let fleet = Fleet::builder().pis(3).offline(1).silent(1).start().unwrap();
    for pi in fleet.pis() {
        assert_eq!(ssh(&fleet, pi.name(), "echo $HOME"), format!("{}\n", pi.home().display()));
        assert!(pi.source().is_dir());
    }
    assert_eq!(ssh(&fleet, "awsbox", "echo $HOME"), format!("{}\n", fleet.jump().home().display()));

    let known_hosts = fs::read_to_string(fleet.known_hosts()).unwrap();
    let keys: BTreeSet<_> = known_hosts.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(keys.len(), 6, "one jump host and five Pis, no key twice:\n{known_hosts}");

    // A Pi's sshd does not listen on the port that it is reached at: its tunnel does, on the jump host.
    for pi in fleet.pis() {
        let connection = ssh(&fleet, pi.name(), "echo $SSH_CONNECTION");
        assert_ne!(connection.trim().rsplit(' ').next().unwrap(), pi.port().to_string());
    }
}

#[test]
fn a_wrong_host_key_is_refused() {
    let fleet = Fleet::builder().pis(2).tunnels(false).start().unwrap();
    let swapped = fs::read_to_string(fleet.known_hosts()).unwrap();
    let swapped = swapped.replace("raspberry1", "x").replace("raspberry2", "raspberry1").replace('x', "raspberry2");
    fs::write(fleet.known_hosts(), swapped).unwrap();
    let output = fleet.ssh("raspberry1").unwrap().arg("true").output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Host key verification failed"), "{said}");
}

#[test]
fn offline_is_refused_and_silent_says_nothing() {
    let fleet = Fleet::builder().pis(0).offline(1).silent(1).start().unwrap();
    assert_eq!(fleet.absent(), ["raspberry1", "raspberry2"]);
    let output = fleet.ssh("raspberry1").unwrap().arg("true").output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Connection refused"), "{said}");

    let config = fs::read_to_string(fleet.ssh_config()).unwrap();
    let entry = config.split("Host raspberry2\n").nth(1).unwrap();
    let port = entry.split("Port ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert_eq!(banner(port, Duration::from_millis(300)), Err(ErrorKind::WouldBlock));
}

#[test]
fn nothing_is_left_after_the_drop() {
    let fleet = Fleet::builder().pis(1).start().unwrap();
    let root = fleet.root().to_owned();
    // A process that leaves its session, its process group and its parent behind.
    let orphan = "setsid sh -c 'echo $$; exec sleep 1000' </dev/null & wait; sleep 1000";
    let (mut client, pid, _stdout) = ssh_in_background(&fleet, "raspberry1", orphan);
    let mut pids = vec![pid, fleet.jump().sshd_pid().to_string(), fleet.pi(1).sshd_pid().to_string()];
    pids.extend(fleet.pi(1).session_pids().iter().map(u32::to_string));
    assert!(pids.len() >= 4 && pids.iter().all(|pid| runs(pid)), "{pids:?}");

    drop(fleet);
    assert!(!pids.iter().any(|pid| runs(pid)), "{pids:?}");
    assert!(!root.exists());
    assert_eq!(client.wait().unwrap().code(), Some(255));
}

/// Set for the child that [`nothing_outlives_a_killed_holder`] kills.
const HOLDER: &str = "LOCAL_FLEET_TEST_HOLDER";

#[test]
#[ignore = "is the process that nothing_outlives_a_killed_holder kills"]
fn holder() {
    assert!(env::var_os(HOLDER).is_some(), "not to be run by hand");
    let fleet = Fleet::builder().start().unwrap();
    let (mut client, pid, _stdout) = ssh_in_background(&fleet, "raspberry1", "echo $$; exec sleep 1000");
    println!("\nroot {} session {pid}", fleet.root().display());
    client.wait().unwrap();
}

#[test]
fn nothing_outlives_a_killed_holder() {
    let mut holder = Command::new(env::current_exe().unwrap())
        .args(["--exact", "holder", "--ignored", "--nocapture"])
        .env(HOLDER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.into_iter().find(|line| line.starts_with("root ")).unwrap();
    let words: Vec<_> = line.split(' ').collect();
    let (root, session) = (Path::new(words[1]), words[3]);
    let servers = || {
        let pids = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        let command = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        pids.filter(|pid| String::from_utf8_lossy(&command(pid)).contains(words[1])).count()
    };
    assert!(runs(session));
    assert!(servers() >= 6, "two sshds, a tunnel, and a leash for each");

    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually("everything ends", || !runs(session) && servers() == 0);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_stopped_machine_accepts_and_is_silent_until_it_goes_on() {
    let fleet = Fleet::builder().pis(2).start().unwrap();
    let stopped: &Machine = fleet.pi(1);
    stopped.stop();
    // Through the tunnel: its client is frozen too, the jump host is not.
    assert_eq!(banner(stopped.port(), Duration::from_millis(300)), Err(ErrorKind::WouldBlock));
    assert_eq!(ssh(&fleet, "raspberry2", "echo bees"), "bees\n");
    stopped.cont();
    assert_eq!(ssh(&fleet, "raspberry1", "echo bees"), "bees\n");
}

#[test]
fn killed_sessions_end_the_connection_and_nothing_else() {
    let fleet = Fleet::builder().pis(1).start().unwrap();
    for machine in [fleet.pi(1), fleet.jump()] {
        let (mut client, line, _stdout) = ssh_in_background(&fleet, "raspberry1", "echo ready; exec sleep 1000");
        assert_eq!(line, "ready");
        assert!(!machine.session_pids().is_empty());
        assert!(machine.kill_sessions() > 0);
        assert_eq!(client.wait().unwrap().code(), Some(255));
        eventually("the sessions end", || machine.session_pids().is_empty());
        assert_eq!(ssh(&fleet, "raspberry1", "echo bees"), "bees\n");
    }
}

#[test]
fn lines_for_sshd_win() {
    let fleet = Fleet::builder().pi_config("ForceCommand echo forced").start().unwrap();
    assert_eq!(ssh(&fleet, "raspberry1", "echo asked"), "forced\n");
    let fleet = Fleet::builder().tunnels(false).jump_config("AllowTcpForwarding no").start().unwrap();
    let output = fleet.ssh("raspberry1").unwrap().arg("true").output().unwrap();
    assert_eq!(output.status.code(), Some(255));
}

#[test]
fn thirty_devices() {
    let fleet = Fleet::builder().pis(30).tunnels(false).start().unwrap();
    let pids: BTreeSet<_> = fleet.pis().iter().map(Machine::sshd_pid).collect();
    assert_eq!(pids.len(), 30);
    assert_eq!(ssh(&fleet, "raspberry30", "echo bees"), "bees\n");
}
