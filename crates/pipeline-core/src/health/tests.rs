//! Texts as Raspberry Pis give them, both ways to ask for them, and what is made of them.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::*;

/// The log of a Raspberry Pi 4 whose card fails: what the kernel says at each start, and the trouble among it.
const KMSG: &str = "6,0,0,-;Booting Linux on physical CPU 0x0000000000 [0x410fd083]\n\
    6,280,1320011,-;sdhci-pltfm: SDHCI platform and OF driver helper\n\
    6,339,1731900,-;mmc0: new high speed SDHC card at address aaaa\n SUBSYSTEM=mmc\n DEVICE=+mmc:mmc0:aaaa\n\
    6,341,1733001,-;mmcblk0: mmc0:aaaa SC32G 29.7 GiB\n\
    6,380,2200001,-;EXT4-fs (mmcblk0p2): mounted filesystem with ordered data mode. Quota mode: none.\n\
    4,612,9000123,-;brcmfmac mmc1:0001:1: Direct firmware load for brcm/brcmfmac43455-sdio.bin failed with error -2\n\
    4,700,83000500,-;mmc0: Timeout waiting for hardware interrupt.\n\
    3,701,83000900,-;mmcblk0: error -110 transferring data, sector 26912, nr 8, cmd response 0x900, card status 0xc00\n\
    3,702,83001000,-;blk_update_request: I/O error, dev mmcblk0, sector 26912\n\
    3,710,1183002000,-;EXT4-fs error (device mmcblk0p2): ext4_find_entry:1455: inode #1234: comm systemd: reading directory lblock 0\n\
    2,711,1183002500,-;EXT4-fs (mmcblk0p2): Remounting filesystem read-only\n\
    6,712,1183009000,-;usb 1-1.2: USB disconnect, device number 3\n";

const TROUBLES: &str = "[   83.000500] mmc0: Timeout waiting for hardware interrupt.\n\
    [   83.000900] mmcblk0: error -110 transferring data, sector 26912, nr 8, cmd response 0x900, card status 0xc00\n\
    [   83.001000] blk_update_request: I/O error, dev mmcblk0, sector 26912\n\
    [ 1183.002000] EXT4-fs error (device mmcblk0p2): ext4_find_entry:1455: inode #1234: comm systemd: reading directory lblock 0\n\
    [ 1183.002500] EXT4-fs (mmcblk0p2): Remounting filesystem read-only\n";

const MEMINFO: &str = "MemTotal:         948304 kB\nMemFree:           94096 kB\nMemAvailable:     681236 kB\nBuffers:           41020 kB\n";

const MOUNTS: &str = "/dev/mmcblk0p2 / ext4 ro,noatime 0 0\ndevtmpfs /dev devtmpfs rw,relatime,size=340432k 0 0\n\
    /dev/mmcblk0p1 /boot vfat rw,relatime,fmask=0022 0 0\n/dev/sda1 /home/pi/bee\\040photos ext4 rw,noatime 0 0\n";

/// A device's root with these files.
fn root(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

fn a_raspberry_pi() -> tempfile::TempDir {
    root(&[
        ("proc/loadavg", b"0.52 0.58 0.59 1/467 12345\n"),
        ("proc/uptime", b"350735.47 234388.90\n"),
        ("proc/meminfo", MEMINFO.as_bytes()),
        ("proc/self/mounts", MOUNTS.as_bytes()),
        ("sys/class/thermal/thermal_zone0/temp", b"48312\n"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", b"50005\n"),
        ("sys/devices/platform/soc/soc:power/get_throttled", b"0\n"),
        ("sys/fs/ext4/mmcblk0p2/errors_count", b"2\n"),
        ("sys/fs/ext4/sda1/errors_count", b"1\n"),
        ("sys/fs/ext4/features/lazy_itable_init", b"supported\n"),
        ("dev/kmsg", KMSG.as_bytes()),
    ])
}

/// What a shell says of such a root, of whose log `dmesg` says this; none: it may not be read.
fn by_shell(shell: &[&str], root: &Path, dmesg: Option<&str>) -> Texts {
    let bin = tempfile::tempdir().unwrap();
    let program = bin.path().join("dmesg");
    let says = dmesg.map_or("exit 1".to_owned(), |log| format!("cat <<'E'\n{log}E\n"));
    fs::write(&program, format!("#!/bin/sh\n{says}")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
    let text = format!("h='{}/'\n{}", root.display(), script());
    let output = Command::new(shell[0]).args(&shell[1..]).args(["-c", &text]).env("PATH", path).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut records = output.stdout.split(|&byte| byte == 0).map(<[u8]>::to_vec);
    read(|| records.next().ok_or(())).unwrap().unwrap()
}

/// The log as `dmesg` writes it.
fn dmesg(kmsg: &str) -> String {
    let lines = kmsg.lines().filter(|line| !line.starts_with(' ')).map(|line| {
        let (head, message) = line.split_once(';').unwrap();
        let time: u64 = head.split(',').nth(2).unwrap().parse().unwrap();
        format!("[{:5}.{:06}] {message}\n", time / 1_000_000, time % 1_000_000)
    });
    lines.collect()
}

fn shells() -> Vec<Vec<&'static str>> {
    let mut shells = vec![vec!["/bin/sh"]];
    if Path::new("/usr/bin/busybox").exists() || Path::new("/bin/busybox").exists() {
        shells.push(vec!["busybox", "sh"]);
    }
    shells
}

#[test]
fn agent_and_shell_give_the_same_texts() {
    let long = "x".repeat(3 * MAX_TEXT_BYTES);
    let many: String = (0..200).map(|n| format!("4,{n},{n}000000,-;mmc0: error {n}\n")).collect();
    let wide: String = (0..60).map(|n| format!("4,{n},{n}000000,-;mmc0: error {}\n", "w".repeat(900))).collect();
    let roots = [
        (a_raspberry_pi(), Some(KMSG)),
        (root(&[]), None),
        (
            root(&[("proc/meminfo", long.as_bytes()), ("proc/uptime", b""), ("dev/kmsg", many.as_bytes())]),
            Some(&many[..]),
        ),
        (root(&[("proc/loadavg", b"0\x001\x00\n"), ("dev/kmsg", wide.as_bytes())]), Some(&wide[..])),
    ];
    for (root, log) in roots {
        let read = collect(root.path());
        for shell in shells() {
            let said = by_shell(&shell, root.path(), log.map(dmesg).as_deref());
            assert_eq!(said, read, "{shell:?}");
        }
        assert!(read.0.iter().all(|(_, text)| text.len() <= MAX_TEXT_BYTES && !text.contains(&0)));
    }
    // And it is what was meant.
    let texts = collect(a_raspberry_pi().path());
    let text = |piece| texts.0.iter().find(|(named, _)| *named == piece).map(|(_, text)| String::from_utf8_lossy(text));
    assert_eq!(texts.0.len(), FILES.len() + 1);
    assert_eq!(text(Piece::Throttled).unwrap(), "50005\n");
    assert_eq!(text(Piece::Ext4Errors).unwrap(), "2\n1\n");
    assert_eq!(text(Piece::Log).unwrap(), TROUBLES);
    assert_eq!(collect(root(&[]).path()), Texts::default());
}

#[test]
fn a_raspberry_pi_is_understood() {
    let texts = collect(a_raspberry_pi().path());
    let expected = Health {
        load_milli: Some(520),
        uptime_s: Some(350_735),
        memory_total_bytes: Some(948_304 * 1024),
        memory_available_bytes: Some(681_236 * 1024),
        temperature_mdeg: Some(48_312),
        throttled: Some(0x5_0005),
        root_read_only: Some(true),
        source_read_only: Some(false),
        sd_errors: Some(5),
        sd_last: Some("[ 1183.002500] EXT4-fs (mmcblk0p2): Remounting filesystem read-only".into()),
    };
    assert_eq!(parse(&texts, Path::new("/home/pi/bee photos/2026")), expected);
    // What lies beside that card lies on the root.
    let beside = parse(&texts, Path::new("/home/pi/bee photos 2"));
    assert_eq!((beside.root_read_only, beside.source_read_only), (Some(true), Some(true)));
    // A healthy one whose log may not be read: its file systems have counted nothing.
    let healthy =
        root(&[("sys/fs/ext4/mmcblk0p2/errors_count", b"0\n"), ("sys/class/thermal/thermal_zone0/temp", b"-3500")]);
    let healthy = parse(&collect(healthy.path()), Path::new("/data"));
    assert_eq!(healthy, Health { sd_errors: Some(0), temperature_mdeg: Some(-3500), ..Health::default() });
    // Where the log has been overwritten, they still know.
    let counted = parse(&Texts(vec![(Piece::Ext4Errors, b"7\n".to_vec()), (Piece::Log, vec![])]), Path::new("/data"));
    assert_eq!((counted.sd_errors, counted.sd_last), (Some(7), None));
    assert_eq!(parse(&Texts::default(), Path::new("/data")), Health::default());
}

#[test]
fn what_is_mounted_last_is_on_top_and_what_is_cut_off_does_not_count() {
    let read_only = |mounts: String| {
        let health = parse(&Texts(vec![(Piece::Mounts, mounts.into_bytes())]), Path::new("/data/x"));
        (health.root_read_only, health.source_read_only)
    };
    assert_eq!(
        read_only("a / ext4 rw 0 0\nb /data ext4 ro 0 0\nc /data ext4 rw,ro 0 0\n".into()),
        (Some(false), Some(false))
    );
    assert_eq!(
        read_only("a / overlay rw 0 0\nb /data ext4 rw 0 0\nc /dat ext4 ro 0 0\n".into()),
        (Some(false), Some(false))
    );
    let mut mounts = "a / ext4 rw 0 0\n".to_owned();
    mounts.push_str(&"c /other ext4 rw 0 0\n".repeat(MAX_TEXT_BYTES));
    // The last line that is there says something else than it did.
    let end = "\nb /data ext4 ro,";
    mounts.replace_range(MAX_TEXT_BYTES - end.len()..MAX_TEXT_BYTES, end);
    assert_eq!(read_only(mounts), (Some(false), Some(false)));
}

#[test]
fn hostile_texts_make_no_numbers() {
    let hostile: [&[u8]; 12] = [
        b"",
        b"\n",
        b"\xff\xfe\x00",
        b"NaN",
        b"-1",
        b"1e999",
        b"99999999999999999999999",
        b"1.-5",
        b".5.5",
        "\u{661}\u{662}".as_bytes(),
        b"MemTotal: 99999999999999999999 kB\nMemAvailable: -5 kB\n/ / / /\n \n    \n",
        b"MemTotal: 18014398509481983 kB\n",
    ];
    let pieces = FILES.iter().map(|(piece, _)| *piece).chain([Piece::Log]).collect::<Vec<_>>();
    for text in hostile {
        let texts = Texts(pieces.iter().map(|piece| (*piece, text.to_vec())).collect());
        let health = parse(&texts, Path::new("/data"));
        // By the texts that are numbers of a kind, but of no thing.
        assert_eq!((health.load_milli, health.uptime_s), (None, None), "{text:?}");
        assert!(health.throttled.is_none_or(|bits| bits == 0x1e999 & 0xf_000f), "{text:?}");
        assert_eq!((health.memory_total_bytes, health.memory_available_bytes), (None, None), "{text:?}");
        assert!(health.temperature_mdeg.is_none_or(|mdeg| mdeg == -1), "{text:?}");
        assert_eq!((health.source_read_only, health.sd_last), (None, None), "{text:?}");
    }
    // Neither does what a log says reach a terminal as it is, nor all of it.
    let log = format!("mmc0: error \x1b[31m\u{9b}{}\n", "é".repeat(1000)).into_bytes();
    let line = parse(&Texts(vec![(Piece::Log, log)]), Path::new("/data")).sd_last.unwrap();
    assert!(line.starts_with("mmc0: error [31mé") && line.chars().count() == 160, "{line}");
    // The first of several counts.
    let twice = Texts(vec![(Piece::Uptime, b"5".to_vec()), (Piece::Uptime, b"6".to_vec())]);
    assert_eq!(parse(&twice, Path::new("/data")).uptime_s, Some(5));
}

#[test]
fn a_shell_that_says_something_else_is_noticed() {
    let said = |records: &[&str]| {
        let mut records = records.iter().map(|record| record.as_bytes().to_vec());
        read(|| records.next().ok_or("it ended"))
    };
    assert_eq!(said(&["load", "0.5", "end"]).unwrap().unwrap().0.len(), 1);
    assert_eq!(said(&["lead", "0.5", "end"]), Ok(None));
    assert_eq!(said(&["load", "0.5"]), Err("it ended"));
    assert_eq!(said(&["load"].repeat(100)), Ok(None));
}
