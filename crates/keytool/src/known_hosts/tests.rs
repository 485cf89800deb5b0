use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::changes::Editor;
use crate::places::tests::places;

/// Three keys that nobody has the private halves of.
fn keys() -> Vec<HostKey> {
    let key = |byte: u8| {
        let kind: &[u8] = b"ssh-ed25519";
        HostKey::from_blob(&[&[0, 0, 0, 11], kind, &[0, 0, 0, 32], &[byte; 32]].concat()).unwrap()
    };
    [1, 2, 3].map(key).into()
}

/// A known_hosts file in a home of its own.
struct Home {
    _dir: tempfile::TempDir,
    places: Places,
}

impl Home {
    fn with(text: &str) -> Home {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        fs::create_dir_all(&places.owned_dir).unwrap();
        fs::write(&places.known_hosts, text).unwrap();
        Home { _dir: dir, places }
    }

    fn change(&self, change: impl Fn(&mut KnownHosts)) -> Vec<String> {
        let decide = || {
            let mut known_hosts = KnownHosts::load(&self.places)?;
            change(&mut known_hosts);
            Ok::<_, KnownHostsError>(known_hosts.change(&self.places).into_iter().collect())
        };
        Editor::new(self.places.clone(), false).perform(decide).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.places.known_hosts).unwrap()
    }

    /// The keys that OpenSSH finds for a name.
    fn found_by_openssh(&self, name: &str) -> Vec<String> {
        found(&self.places.known_hosts, name)
    }
}

fn found(file: &Path, name: &str) -> Vec<String> {
    let output = Command::new("ssh-keygen").args(["-F", name, "-f"]).arg(file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let keys =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_once(' ').unwrap().1.to_owned());
    keys.collect()
}

fn openssh(keys: &[HostKey]) -> Vec<String> {
    keys.iter().map(HostKey::openssh).collect()
}

#[test]
fn openssh_finds_what_was_pinned_and_nobody_can_read_the_names() {
    let keys = keys();
    let home = Home::with("# mine\nother.example.org ssh-rsa AAAA");
    let told = home.change(|known| known.pin("raspberry31", &keys[..2]));
    assert_eq!(told, ["pin 2 host keys of raspberry31 in ~/.ssh/known_hosts"]);
    home.change(|known| known.pin("[iot.example.org]:2222", &keys[2..]));
    assert_eq!(home.found_by_openssh("raspberry31"), openssh(&keys[..2]));
    assert_eq!(home.found_by_openssh("[iot.example.org]:2222"), openssh(&keys[2..]));
    assert!(home.found_by_openssh("raspberry3").is_empty());
    let text = home.text();
    assert!(text.starts_with("# mine\nother.example.org ssh-rsa AAAA\n|1|"), "{text}");
    assert!(!text.contains("raspberry31") && !text.contains("iot"), "{text}");

    assert!(home.change(|known| known.pin("raspberry31", &keys[..2])).is_empty());
    assert_eq!(home.text(), text);
}

#[test]
fn forgetting_takes_the_lines_of_one_name_and_no_others() {
    let keys = keys();
    let [a, b, c] = [0, 1, 2].map(|at| keys[at].openssh());
    let others = format!(
        "# raspberry31\r\nraspberry31,raspberry32 {a}\n@revoked raspberry31 {b}\nraspberry* {c}\nraspberry3 {a}\nrubbish\n\n"
    );
    let home = Home::with(&format!("raspberry31 {a}\n{others}Raspberry31 {b}"));
    home.change(|known| known.pin("raspberry31", &keys[2..]));
    // The pattern holds for the name too: there is nothing to pin.
    assert_eq!(home.found_by_openssh("raspberry31").len(), 5);

    let told = home.change(|known| assert_eq!(known.forget("raspberry31"), 2));
    assert_eq!(told, ["forget 2 host keys of raspberry31 in ~/.ssh/known_hosts"]);
    assert_eq!(home.text(), others);
    assert!(home.change(|known| assert_eq!(known.forget("raspberry31"), 0)).is_empty());

    // Hashed ones too; and one change may both forget and pin.
    let home = Home::with("");
    home.change(|known| ["raspberry31", "raspberry32"].iter().for_each(|name| known.pin(name, &keys[..2])));
    home.change(|known| {
        known.forget("raspberry31");
        known.pin("raspberry31", &keys[1..]);
    });
    assert_eq!(home.found_by_openssh("raspberry31"), openssh(&keys[1..]));
    assert_eq!(home.found_by_openssh("raspberry32"), openssh(&keys[..2]));
}
