//! Tables for the model.

use super::model::*;

/// Made by ssh-keygen.
const ALICE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS";
const CAROL: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYd1r1NgIK6sUBKvnIGlo8y7eWRyOtw5dQuIj6LIZdR";
const BOB: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHrdV4yNWBkQ7zJdC0qyv4kn6Eqzqpz9giqA8VEUqjRF";

fn key(text: &str) -> Key {
    Key::parse(text).unwrap().0
}

fn file(text: &str) -> AuthorizedKeys {
    AuthorizedKeys::new(text.into())
}

fn text(keys: &AuthorizedKeys) -> &str {
    std::str::from_utf8(keys.as_bytes()).unwrap()
}

#[test]
fn a_line_is_read_as_sshd_reads_it() {
    let plain = Options::default();
    let command = plain.clone().value("command", "echo \"a b\", c").flag("no-pty");
    let table: [(String, Option<(Options, &str)>); 11] = [
        (ALICE.into(), Some((plain.clone(), ""))),
        (format!("{ALICE} alice@home of bees\r\n"), Some((plain.clone(), "alice@home of bees"))),
        (format!("\t {ALICE}\talice\n"), Some((plain.clone(), "alice"))),
        (format!("command=\"echo \\\"a b\\\", c\",no-pty {ALICE} x"), Some((command, "x"))),
        (format!("restrict\t{ALICE}"), Some((plain.clone().flag("restrict"), ""))),
        (format!("# {ALICE}"), None),
        (format!("command=\"open {ALICE}"), None),
        ("ssh-ed25519 AAAA".into(), None),
        (ALICE.replace("ssh-ed25519", "ssh-rsa"), None),
        (ALICE.replace("AAAAC3", "AAAAC!"), None),
        (String::new(), None),
    ];
    for (line, expected) in table {
        let found = file(&line).entries().pop().map(|entry| (entry.options, entry.comment));
        assert_eq!(found, expected.map(|(options, comment)| (options, comment.to_owned())), "{line}");
    }
}

#[test]
fn a_comment_is_no_line_of_its_own() {
    let entry = Entry::plain(key(ALICE), &format!("a\tb\r\n{BOB} bob\u{1b}[2J"));
    let written = file("").ensure(&entry);
    assert_eq!(text(&written), format!("{ALICE} a\tb  {BOB} bob [2J\n"));
    assert_eq!(written.set(&entry), written);
    assert_eq!(written.entries(), [entry]);
}

#[test]
fn a_line_in_any_encoding_is_the_line_of_its_key() {
    let latin_1 = |text: &str| text.chars().map(|c| u8::try_from(c).unwrap()).collect::<Vec<u8>>();
    let line = format!("command=\"café \\\"é\\\"\",no-pty {ALICE} zoé\n");
    let before = AuthorizedKeys::new([latin_1(&line), latin_1(&format!("{BOB} bob in the café\n"))].concat());
    let [alice, bob] = [ALICE, BOB].map(|text| before.entry(&key(text)).unwrap());
    assert_eq!((alice.comment.as_str(), bob.comment.as_str()), ("zo\u{fffd}", "bob in the caf\u{fffd}"));
    assert_eq!(alice.options.all("command").first().map(String::as_str), Some("caf\u{fffd} \"\u{fffd}\""));
    assert_eq!(before.ensure(&bob), before);
    assert_eq!(before.set(&alice), before);
    assert_eq!(before.without(|entry| entry.key == key(BOB)).as_bytes(), latin_1(&line));
    // What one key may do, another is given byte for byte.
    let carol = Entry { options: alice.options, ..Entry::plain(key(CAROL), "") };
    assert_eq!(file("").ensure(&carol).as_bytes(), latin_1(&line.replace(&format!("{ALICE} zoé"), CAROL)));
    // A string of C ends at a NUL, and sshd passes over white space within the base64.
    let (start, end) = ALICE.split_at(40);
    for line in [format!("{ALICE}\0é\n"), format!("{start}\x0b\x0c{end} x\n"), format!("{ALICE}\r\n")] {
        assert!(AuthorizedKeys::new(latin_1(&line)).entry(&key(ALICE)).is_some(), "{line:?}");
    }
    assert_eq!(file(&format!("{BOB}\0 {ALICE}\n")).entries().len(), 1);
}

#[test]
fn options_are_found_by_name() {
    let options = file(&format!("Restrict,command=\"say \\\"a,b\\\"\",expiry-time=\"20270101Z\",no-pty {ALICE}"));
    let options = options.entries().pop().unwrap().options;
    assert_eq!(options.all("restrict").first().map(String::as_str), Some(""));
    assert_eq!(options.all("command").first().map(String::as_str), Some("say \"a,b\""));
    assert_eq!(options.all("expiry-time").first().map(String::as_str), Some("20270101Z"));
    assert_eq!(options.all("no-pty").first().map(String::as_str), Some(""));
    assert_eq!(options.all("b").first(), None);
    assert_eq!(Options::default().all("").first(), None);
}

#[test]
fn foreign_lines_stay_as_they_are() {
    let foreign = format!(
        "# keys of the house\r\n\r\nfrom=\"10.0.0.0/8\",command=\"/bin/echo hi\"  {BOB}   bob \t\r\nnonsense \u{1f41d}\n\nssh-ed25519 broken"
    );
    let foreign = [foreign.as_bytes(), b" \xff\xfe"].concat();
    let before = AuthorizedKeys::new(foreign.clone());
    let entry = Entry::plain(key(ALICE), "pipeline raspberry31");
    let with = before.ensure(&entry);
    assert_eq!(with.as_bytes(), [&foreign[..], format!("\n{ALICE} pipeline raspberry31\n").as_bytes()].concat());
    assert_eq!(with.ensure(&entry), with);
    assert_eq!(with.set(&entry), with);
    let without = with.without(|entry| entry.key == key(ALICE));
    assert_eq!(without.as_bytes(), [&foreign[..], b"\n"].concat());
    assert_eq!(before.without(|entry| entry.key == key(ALICE)), before);
}

#[test]
fn what_somebody_wrote_about_our_key_is_left_unless_it_is_to_be_set() {
    let before = file(&format!("from=\"10.1.2.3\" {ALICE} mine\n{BOB} bob\n{ALICE} again\n"));
    let restricted = Entry {
        options: Options::default().flag("restrict").value("command", "agent"),
        ..Entry::plain(key(ALICE), "pipeline raspberry31")
    };
    assert_eq!(before.ensure(&restricted), before);
    let set = before.set(&restricted);
    assert_eq!(text(&set), format!("restrict,command=\"agent\" {ALICE} pipeline raspberry31\n{BOB} bob\n"));
    assert_eq!(set.entry(&key(ALICE)), Some(restricted.clone()));
    assert_eq!(text(&file("").set(&restricted)), format!("{restricted}\n"));
    // Where from and how long stays, once, whatever else is set.
    let old = file(&format!("from=\"10.1.0.0/16,!10.1.2.3\",no-pty,EXPIRY-TIME=\"20300101Z\" {ALICE} mine\n"));
    let bounded = restricted.clone().bounded_as(&old.entry(&key(ALICE)).unwrap());
    let options = "restrict,command=\"agent\",from=\"10.1.0.0/16,!10.1.2.3\",EXPIRY-TIME=\"20300101Z\"";
    assert_eq!(bounded.options.to_string(), options);
    assert_eq!(restricted.clone().bounded_as(&bounded), bounded);
}

#[test]
fn fingerprints_are_those_of_openssh() {
    // ssh-keygen -lf
    assert_eq!(key(ALICE).fingerprint(), "SHA256:OQwzHNaJf+yRKYeKJagzYdnXYje+xqBSfHhDDjupeOg");
}
