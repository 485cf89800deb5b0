//! The agents for real Pis, on machines that the kernel of this computer pretends to be: `uname -m`, the shell and the agent are those
//! of an ARM machine, run by qemu, in a root directory that holds nothing but a static shell, the agent and the data. So whatever
//! the agents need besides (a loader, a C library) would be missed.
//!
//! `make test-agents` builds what is needed and runs this. Where that is not there, or mounts of its own are not to be had, each
//! test says so and passes.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use e2e::scene::{Scene, Tree, noise};
use e2e::stand_in::{AS_ASKED, PI_CONFIG, misbehave, with_sftp};
use e2e::truth::assert_all_true;
use e2e::{carried_bytes, report};
use local_fleet::{FileFacts, Fleet};

/// What a device's shell finds: what `deploy` asks for.
const TOOLS: [&str; 13] =
    ["sh", "cat", "chmod", "gzip", "head", "mkdir", "mv", "rm", "sha256sum", "sync", "uname", "wc", "true"];

/// Where Debian's qemu says how the kernel knows a foreign program, and what runs it. The kernel opens that at once, so that it needs
/// no name in another root (flag F).
const BINFMT: &str = "/usr/lib/binfmt.d";

/// Says that nothing was tested.
#[allow(clippy::print_stderr)] // how a test says that it tested nothing
fn not_tested(why: &str) {
    eprintln!("not tested: {why}; `make test-agents` has what it takes");
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn agent(arch: &str) -> PathBuf {
    workspace().join("dist/agents").join(format!("pipeline-agent-{arch}"))
}

/// A static shell of a foreign machine.
fn shell(arch: &str) -> PathBuf {
    workspace().join("target/agents/shells").join(format!("busybox-{arch}"))
}

/// Whether all is here that these tests need.
fn prepared() -> bool {
    let files = ["aarch64", "armv7l"].map(shell).into_iter().chain(["x86_64", "aarch64", "armv7l"].map(agent));
    let qemus = ["aarch64", "arm"].map(|cpu| PathBuf::from(format!("{BINFMT}/qemu-{cpu}.conf")));
    let missing = files.chain(qemus).find(|path| !path.is_file());
    if let Some(path) = missing {
        not_tested(&format!("{} is missing", path.display()));
        return false;
    }
    // The kernel's own table of foreign programs, in a namespace that nobody else sees: since Linux 6.7.
    let mount = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc";
    let allowed = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", mount]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        not_tested("the kernel's table of foreign programs is not to be had in a namespace");
        return false;
    }
    true
}

/// From now on the Pi is such a machine. `says` is what its `uname -m` says where that is not its shell's own word.
fn become_foreign(scene: &Scene, pi: usize, arch: &str, says: Option<&str>) {
    let pi = scene.fleet.pi(pi);
    let (home, root) = (pi.home(), pi.home().parent().unwrap().parent().unwrap().join("root"));
    let bin = root.join("bin");
    for dir in [&bin, &root.join("proc"), &root.join(home.strip_prefix("/").unwrap())] {
        fs::create_dir_all(dir).unwrap();
    }
    fs::copy(shell(arch), bin.join("busybox")).unwrap();
    for tool in TOOLS {
        symlink("busybox", bin.join(tool)).unwrap();
    }
    // The shell has a `uname` within itself, which a path passes by.
    let mut asked = "$SSH_ORIGINAL_COMMAND";
    if let Some(machine) = says {
        asked = "$(echo \"$SSH_ORIGINAL_COMMAND\" | sed 's,uname -m,/bin/uname -m,')";
        fs::remove_file(bin.join("uname")).unwrap();
        fs::write(bin.join("uname"), format!("#!/bin/sh\necho {machine}\n")).unwrap();
        fs::set_permissions(bin.join("uname"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let script = home.join("enter");
    let (home, root) = (home.display(), root.display());
    let enter = format!(
        "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc || exit\n\
         for cpu in aarch64 arm; do cat {BINFMT}/qemu-$cpu.conf > /proc/sys/fs/binfmt_misc/register || exit; done\n\
         mount --rbind /proc {root}/proc && mount --bind {home} {root}{home} || exit\n\
         asked=\"{asked}\"\nPATH=/bin; export PATH\nexec /usr/sbin/chroot {root} /bin/sh -c \"$asked\"\n"
    );
    fs::write(&script, enter).unwrap();
    misbehave(pi, &with_sftp(&format!("exec unshare --user --map-root-user --mount /bin/sh {}", script.display())));
}

/// The files of one Pi, without its name in front.
fn of_pi(tree: &Tree, pi: usize) -> Vec<(Vec<u8>, FileFacts)> {
    let prefix = format!("raspberry{pi}/").into_bytes();
    let own = tree.iter().filter_map(|(path, facts)| Some((path.strip_prefix(&prefix[..])?.to_owned(), facts.clone())));
    own.collect()
}

/// What a large file is after some of its middle has changed.
fn edited(content: &[u8]) -> Vec<u8> {
    let middle = content.len() / 2;
    [&content[..middle], b"a few bytes more", &content[middle + 5..]].concat()
}

/// What every Pi holds.
fn fill(scene: &Scene, pi: usize, large: &[u8]) {
    let write = |path: &[u8], content: &[u8], seconds: u64| {
        scene.fleet.write(pi, path, content, UNIX_EPOCH + Duration::new(seconds, 123_456_789)).unwrap();
    };
    write(b"2026-11-21/bee.jpg", &noise(300_000, 1), 1_700_000_000);
    write(b"2026-11-21/empty", b"", 1_600_000_000);
    write(b"log.csv", &b"12.5;2026-11-21T12:00:00Z;north hive\n".repeat(3000), 1_500_000_000);
    write(b"odd \xff name", b"odd", 1_400_000_000);
    write(b"large", large, 1_700_000_000);
    (0..100).for_each(|i| write(format!("many/{i}").as_bytes(), &noise(i * 10, i as u64), 1_650_000_000));
}

#[test]
fn arm_machines_deliver_what_a_pc_delivers() {
    if !prepared() {
        return;
    }
    let settings = format!(
        "settle: 1s\ntimeouts: {{ connect: 60s, idle: 120s }}\nagent_dir: {}\n",
        workspace().join("dist/agents").display()
    );
    let scene = Scene::new(Fleet::builder().pis(5).pi_config(PI_CONFIG).pipeline_config(&settings));
    misbehave(scene.fleet.pi(1), &with_sftp(AS_ASKED));
    become_foreign(&scene, 2, "aarch64", None);
    become_foreign(&scene, 3, "armv7l", None);
    // A 32-bit system on a 64-bit kernel: the static agent needs nothing of the system.
    become_foreign(&scene, 4, "armv7l", Some("aarch64"));
    // The first Pi and the Zero.
    become_foreign(&scene, 5, "armv7l", Some("armv6l"));
    let large = noise(1_500_000, 2);
    (1..=5).for_each(|pi| fill(&scene, pi, &large));
    let offered = scene.offered();

    let checked = scene.pipeline(&["check"]).expect(0);
    assert!(checked.stdout.contains("agents for aarch64, armv7l, x86_64\n"), "{checked}");

    let synced = scene.sync().expect(0);
    let mut installed: Vec<_> = synced
        .events_of("agent_installed")
        .iter()
        .map(|event| {
            let [device, name] = ["device", "name"].map(|key| event[key].as_str().unwrap().to_owned());
            (device, name.rsplit_once('-').unwrap().1.to_owned())
        })
        .collect();
    installed.sort();
    let expected = [("1", "x86_64"), ("2", "aarch64"), ("3", "armv7l"), ("4", "aarch64")];
    assert_eq!(installed, expected.map(|(pi, arch)| (format!("raspberry{pi}"), arch.to_owned())), "{synced}");
    let fallen = synced.events_of("fell_back");
    assert_eq!(fallen.len(), 1, "{synced}");
    assert_eq!(fallen[0]["device"], "raspberry5");
    assert_eq!(fallen[0]["reason"], "there is no agent for a machine that calls itself 'armv6l'");
    assert_eq!(fallen[0]["hint"], "agents exist for x86_64, aarch64 and armv7l");

    // Byte for byte and nanosecond for nanosecond; where there is an agent the Pi is empty now.
    let archived = scene.archived();
    for pi in 1..=4 {
        assert_eq!(of_pi(&archived, pi), of_pi(&offered, 1), "raspberry{pi}");
        assert_eq!(of_pi(&scene.offered(), pi), [], "raspberry{pi}");
    }
    assert_eq!(report(&synced.summary(), "raspberry5")["failed"], 0, "{synced}");

    // What changed comes as a delta, and is the same again.
    let edited = edited(&large);
    (1..=4).for_each(|pi| fill(&scene, pi, &edited));
    let again = scene.sync().expect(0);
    assert!(carried_bytes(&again) < 4 * 300_000 + 4 * large.len() as u64 / 4, "{again}");
    let archived = scene.archived();
    assert_eq!(fs::read(scene.fleet.storage().join("raspberry1/large")).unwrap(), edited);
    for pi in 2..=4 {
        assert_eq!(of_pi(&archived, pi), of_pi(&archived, 1), "raspberry{pi}");
        assert_eq!(of_pi(&scene.offered(), pi), [], "raspberry{pi}");
    }
    assert!(again.events_of("agent_installed").is_empty(), "{again}");
    assert_all_true(&scene.fleet);
}

#[test]
fn agents_are_static_and_aligned_for_every_kernel() {
    if !prepared() {
        return;
    }
    for arch in ["x86_64", "aarch64", "armv7l"] {
        let readelf = |options: &[&str]| {
            let output = Command::new("readelf").args(options).arg(agent(arch)).output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        };
        let segments = readelf(&["--program-headers", "--wide"]);
        assert!(!segments.contains("INTERP"), "{segments}");
        let loads: Vec<_> = segments.lines().filter(|line| line.trim_start().starts_with("LOAD")).collect();
        assert!(loads.len() >= 2, "{segments}");
        // Kernels with pages of 16 or 64 KiB load nothing else.
        assert!(loads.iter().all(|line| line.ends_with(" 0x10000")), "{segments}");
        let dynamic = readelf(&["--dynamic", "--wide"]);
        assert!(!dynamic.contains("(NEEDED)"), "{dynamic}");
        // The first entry is always there, and names nothing.
        let symbols = readelf(&["--dyn-syms", "--wide"]);
        let named = symbols.lines().filter(|line| line.split_whitespace().count() > 7 && !line.contains("Num:"));
        assert_eq!(named.count(), 0, "{symbols}");
    }
}
