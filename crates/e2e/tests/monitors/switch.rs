//! A dead-man's switch on loopback: an HTTP server that answers every call alike and remembers it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use native_tls::{Identity, TlsAcceptor};

/// A certificate for 127.0.0.1 that nobody trusts unless told to, and its key. It is of no use but here, and no secret.
pub const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/monitors/certificate.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/monitors/key.pem");

/// What it was called with: `POST /id/fail`, and the body.
pub type Call = (String, String);

/// A running server; it lives as long as the test.
pub struct Switch {
    /// Without a path.
    pub url: String,
    calls: Receiver<Call>,
}

impl Switch {
    /// Answers over plain HTTP with this status.
    pub fn start(status: u16) -> Switch {
        Switch::serve("http", move |stream, heard| answer(stream, status, heard))
    }

    /// Answers over HTTPS.
    pub fn start_tls() -> Switch {
        let [certificate, key] = [CERTIFICATE, KEY].map(|file| std::fs::read(file).unwrap());
        let acceptor = TlsAcceptor::new(Identity::from_pkcs8(&certificate, &key).unwrap()).unwrap();
        Switch::serve("https", move |stream, heard| {
            // A client that does not trust us goes away here.
            if let Ok(stream) = acceptor.accept(stream) {
                answer(stream, 200, heard);
            }
        })
    }

    fn serve(scheme: &str, answer: impl Fn(TcpStream, &dyn Fn(Call)) + Send + 'static) -> Switch {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (sender, calls) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &|call| sender.send(call).unwrap_or_default());
            }
        });
        Switch { url, calls }
    }

    /// The calls since it was last asked. They are complete: who called has had his answer.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.try_iter().collect()
    }
}

/// One request, one answer.
fn answer(stream: impl Read + Write, status: u16, heard: &dyn Fn(Call)) {
    let mut stream = BufReader::new(stream);
    let (mut line, mut header, mut length) = (String::new(), String::new(), 0);
    stream.read_line(&mut line).unwrap();
    while stream.read_line(&mut header).unwrap() > 2 {
        let (name, value) = header.split_once(':').unwrap();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
        header.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    heard((line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(), String::from_utf8(body).unwrap()));
    let answer = format!("HTTP/1.1 {status} As told\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK");
    stream.get_mut().write_all(answer.as_bytes()).unwrap();
    stream.get_mut().flush().unwrap();
}
