//! A mail server on loopback, as small as can be: it takes every mail and hands it over.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// A running server; it lives as long as the test.
pub struct Mailbox {
    /// `host:port`.
    pub address: String,
    mails: Receiver<String>,
}

impl Mailbox {
    pub fn open() -> Mailbox {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, mails) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if let Some(mail) = take(&stream.unwrap()) {
                    sender.send(mail).unwrap_or_default();
                }
            }
        });
        Mailbox { address, mails }
    }

    /// The next mail, with plain line ends. Who sent it has had his answer, so it is here.
    pub fn mail(&self) -> String {
        self.mails.recv().unwrap()
    }
}

/// One conversation. <https://www.rfc-editor.org/rfc/rfc5321#appendix-D.1>
fn take(stream: &TcpStream) -> Option<String> {
    let say = |words: &str| (&*stream).write_all(format!("{words}\r\n").as_bytes()).unwrap();
    say("220 here");
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut mail = None;
    while let Some(line) = lines.next() {
        match line.split([' ', ':']).next().unwrap().to_ascii_uppercase().as_str() {
            "DATA" => {
                say("354 go on");
                let text: Vec<String> = lines.by_ref().take_while(|line| line != ".").collect();
                mail = Some(text.join("\n"));
                say("250 taken");
            }
            "QUIT" => {
                say("221 bye");
                break;
            }
            _ => say("250 good"),
        }
    }
    mail
}
