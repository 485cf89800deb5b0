//! A real browser for pages that `pipeline` writes: headless Chromium, spoken to by its DevTools protocol over two pipes.
//!
//! Guarantees: it asks nobody in the network for anything by itself, keeps nothing, and ends with its [`Browser`]; an answer that
//! does not come fails the test instead of hanging it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

/// So long an answer may take, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);

/// Names that a distribution gives it.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

const ARGUMENTS: [&str; 13] = [
    "--headless",
    // Root may not have one, and the only page is our own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

/// A running browser with one page.
pub struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: String,
    last: u64,
    /// What it told without being asked.
    events: Vec<Value>,
    // Last: gone when the browser is.
    _dir: TempDir,
}

impl Browser {
    /// Starts the one that is installed; none where there is none.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start() -> Option<Browser> {
        let program = installed()?;
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let (to, from) = (pipe(dir.path(), "to"), pipe(dir.path(), "from"));
        let mut command = Command::new("sh");
        // It takes its orders from descriptor 3 and answers on 4.
        command.args(["-c", "exec \"$0\" \"$@\" 3<\"$TO\" 4>\"$FROM\""]).arg(program).args(ARGUMENTS);
        command.arg(format!("--user-data-dir={}", dir.path().join("profile").display()));
        command.env("TO", &to).env("FROM", &from).env("HOME", dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("sh: {error}"));
        // In the order of the shell: each opening waits for the other side.
        let to = open(OpenOptions::new().write(true), &to);
        let from = listen(open(OpenOptions::new().read(true), &from));
        let mut browser = Browser { child, to, from, session: String::new(), last: 0, events: Vec::new(), _dir: dir };
        let target = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let attached = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", &attached);
        browser.session = session["sessionId"].as_str().unwrap_or_default().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Loads a page as a screen of this size shows it, dark or light. Forgets what was told of an earlier one.
    ///
    /// # Panics
    /// Where it can't be loaded.
    pub fn load(&mut self, page: &Path, (width, height): (u32, u32), dark: bool) {
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.ask("Emulation.setDeviceMetricsOverride", &screen);
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", &media);
        self.events.clear();
        let url = format!("file://{}", page.display());
        let answer = self.ask("Page.navigate", &json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.hear("Page.loadEventFired");
            self.events.push(event);
        }
    }

    /// The value of an expression in the page.
    ///
    /// # Panics
    /// Where it has none.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.ask("Runtime.evaluate", &json!({ "expression": expression, "returnByValue": true }));
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// What the console has to say of the page.
    pub fn complaints(&self) -> Vec<String> {
        const TOLD: [&str; 3] = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
        let told = self.events.iter().filter(|event| TOLD.iter().any(|method| event["method"] == *method));
        told.map(|event| event["params"].to_string()).collect()
    }

    /// The addresses that the page wanted, its own among them.
    pub fn requests(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    /// Sends a command and waits for its answer; keeps what is told meanwhile.
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        let written = self.to.write_all(format!("{command}\0").as_bytes());
        written.unwrap_or_else(|error| panic!("{method}: {error}"));
        loop {
            let message = self.hear(method);
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    fn hear(&mut self, about: &str) -> Value {
        match self.from.recv_timeout(PATIENCE) {
            Ok(message) => message,
            Err(error) => panic!("no answer from the browser to {about}: {error}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its own children end when it does.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let candidates = std::env::split_paths(&path).flat_map(|dir| NAMES.map(|name| dir.join(name)));
    candidates.into_iter().find(|program| program.is_file())
}

fn pipe(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let made = mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
    made.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

fn open(options: &OpenOptions, path: &Path) -> File {
    options.open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Messages, each ended by a NUL.
fn listen(from: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for message in BufReader::new(from).split(0).map_while(Result::ok) {
            let message = serde_json::from_slice(&message).unwrap_or(Value::Null);
            if sender.send(message).is_err() {
                break;
            }
        }
    });
    receiver
}
