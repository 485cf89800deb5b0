//! The command of `notify`, and the example that sends a mail.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use e2e::scene::Scene;
use e2e::{run_with, schema};
use local_fleet::Fleet;
use serde_json::Value;

use super::mailbox::Mailbox;

const MAILER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/notify-mail");

/// A fleet whose runs are told to a command that writes down what it reads.
struct Told(Scene);

impl Told {
    fn new() -> Told {
        let scene = Scene::new(Fleet::builder().pis(2));
        let script = format!("cat > {}", Told::heard(&scene).display());
        let mut config = fs::File::options().append(true).open(scene.fleet.config_file()).unwrap();
        writeln!(config, "notify: {{ command: [/bin/sh, -c, '{script}'], timeout: 10m }}").unwrap();
        Told(scene)
    }

    fn heard(scene: &Scene) -> PathBuf {
        scene.fleet.root().join("heard")
    }

    /// Runs `pipeline sync`, and returns what the command read, if it was called.
    #[track_caller]
    fn sync(&self, code: i32) -> Option<String> {
        self.0.pipeline(&["sync"]).expect(code);
        let heard = Told::heard(&self.0);
        let text = fs::read_to_string(&heard).ok()?;
        fs::remove_file(heard).unwrap();
        Some(text)
    }
}

/// Who is named under `new`, `lasting` and `over`, and why.
#[track_caller]
fn news(notice: &str) -> [String; 3] {
    let mut notice: Value = serde_json::from_str(notice).unwrap();
    schema::assert_described("notify", &notice);
    let who = |trouble: &Value| format!("{} {}", trouble["device"].as_str().unwrap_or("run"), trouble["class"]);
    let news = ["new", "lasting", "over"].map(|list| {
        let troubles = notice[list].as_array().unwrap();
        troubles.iter().map(who).collect::<Vec<_>>().join(", ").replace('"', "")
    });
    if let Value::Object(mut run) = notice["run"].take() {
        // As the events have it.
        for (name, value) in [("event", "run_finished".into()), ("schema", 1.into()), ("time", notice["time"].take())] {
            run.insert(name.into(), value);
        }
        schema::assert_described("events", &run.into());
    }
    news
}

#[test]
fn a_trouble_is_told_once_and_its_end_and_a_mail_can_be_made_of_it() {
    let told = Told::new();
    let scene = &told.0;
    let (marker, aside) = (scene.fleet.storage().join(".pipeline"), scene.fleet.root().join("aside"));
    let known_hosts = scene.fleet.known_hosts();
    assert_eq!(told.sync(0), None, "all is well");

    fs::rename(&marker, &aside).unwrap();
    let storage = told.sync(5).unwrap();
    assert_eq!(news(&storage), ["run storage", "", ""]);
    let why: Value = serde_json::from_str(&storage).unwrap();
    assert!(why["new"][0]["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "what to do: {storage}");
    assert_eq!(told.sync(5), None, "that is known");

    fs::rename(&aside, &marker).unwrap();
    let keys = fs::read_to_string(&known_hosts).unwrap();
    let others = keys.lines().filter(|line| !line.starts_with("raspberry1 ")).map(|line| format!("{line}\n"));
    let others: String = others.collect();
    assert_ne!(others, keys, "{keys}");
    fs::write(&known_hosts, others).unwrap();
    let host_key = told.sync(3).unwrap();
    assert_eq!(news(&host_key), ["raspberry1 host_key", "", "run storage"]);

    fs::write(&known_hosts, keys).unwrap();
    // A run that does not visit it knows nothing of it.
    scene.pipeline(&["sync", "raspberry2"]).expect(0);
    assert!(!Told::heard(scene).exists());
    let well = told.sync(0).unwrap();
    assert_eq!(news(&well), ["", "", "raspberry1 host_key"]);
    assert_eq!(told.sync(0), None, "that is known");

    a_dry_run_tells_nobody(&told);
    a_mail_says_it(&[&storage, &host_key, &well]);
    a_command_that_fails_is_a_warning(scene);
}

fn a_dry_run_tells_nobody(told: &Told) {
    told.0.reconfigure("timeout: 10m", "timeout: 10m, when: always");
    told.0.pipeline(&["sync", "--dry-run"]).expect(0);
    assert!(!Told::heard(&told.0).exists());
    assert_eq!(news(&told.sync(0).unwrap()), ["", "", ""]);
}

fn a_command_that_fails_is_a_warning(scene: &Scene) {
    let heard = Told::heard(scene);
    scene.reconfigure(&format!("cat > {}", heard.display()), "echo no route to the mail server >&2; exit 7");
    let offered = scene.write(1, "bees.jpg", b"bees\n");
    let ended = scene.pipeline(&["sync"]).expect(0);
    assert!(!offered.exists(), "the run did its work");
    let said = "warning: the command of notify, /bin/sh, ended with exit code 7; it said: no route to the mail server";
    assert!(ended.stderr.contains(said), "{ended}");
}

#[allow(clippy::print_stderr)] // what is skipped is said
/// Gives each notice to the example, and looks at the mail that a server gets.
fn a_mail_says_it(notices: &[&String; 3]) {
    if !Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: examples/notify-mail, since there is no python3");
        return;
    }
    let mailbox = Mailbox::open();
    let send = |notice: &str, to: &str| {
        let mut mailer = Command::new("python3");
        mailer.args([MAILER, "--smtp", to, "--from", "bees@example.org", "me@example.org", "you@example.org"]);
        let mut stdin = tempfile::tempfile().unwrap();
        stdin.write_all(notice.as_bytes()).unwrap();
        std::io::Seek::rewind(&mut stdin).unwrap();
        run_with(&mut mailer, stdin.into())
    };
    let [storage, host_key, well] = notices.map(|notice| {
        send(notice, &mailbox.address).expect(0);
        mailbox.mail()
    });
    let subject = |mail: &str| {
        // Long ones are folded.
        let head = mail.split_once("\n\n").unwrap().0.replace("\n ", " ");
        head.lines()
            .find_map(|line| line.strip_prefix("Subject: [pipeline] "))
            .unwrap_or_else(|| panic!("{mail}"))
            .to_owned()
    };
    assert!(subject(&storage).starts_with("the run: "), "{storage}");
    assert!(subject(&host_key).starts_with("raspberry1: host 'raspberry1' is not trusted"), "{host_key}");
    assert!(host_key.contains("\nOver:\n  the run: "), "{host_key}");
    assert_eq!(subject(&well), "well again: raspberry1");
    for mail in [&storage, &host_key, &well] {
        for line in ["To: me@example.org, you@example.org", "From: bees@example.org", "Auto-Submitted: auto-generated"]
        {
            assert!(mail.lines().any(|at| at == line), "{line} in {mail}");
        }
    }
    // What a device says can't become a header.
    let hostile = notice_with("x\nBcc: everybody@example.org\u{1b}[2J");
    send(&hostile, &mailbox.address).expect(0);
    let mail = mailbox.mail();
    assert!(!mail.contains("\nBcc") && !mail.contains('\u{1b}'), "{mail}");
    let nobody = send(&hostile, "127.0.0.1:1").expect(1);
    assert!(nobody.stderr.starts_with("no mail by 127.0.0.1:1: "), "{nobody}");
}

fn notice_with(reason: &str) -> String {
    let trouble = serde_json::json!({ "device": "pi", "class": "host_key", "reason": reason, "since": "now" });
    let notice = serde_json::json!({ "time": "now", "collector": "here", "summary": "exit 3", "new": [trouble], "lasting": [], "over": [] });
    notice.to_string()
}
