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
        fs::write(places.ssh_dir.join("known_hosts"), text).unwrap();
        Home { _dir: dir, places }
    }

    fn file(&self) -> PathBuf {
        self.places.ssh_dir.join("known_hosts")
    }

    fn change(&self, change: impl Fn(&mut KnownHosts)) -> Vec<String> {
        let decide = || {
            let mut known_hosts = KnownHosts::load(&self.file())?;
            change(&mut known_hosts);
            Ok::<_, KnownHostsError>(known_hosts.change(&self.places).into_iter().collect())
        };
        Editor::new(self.places.clone(), false).perform(decide).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// The keys that OpenSSH finds for a name.
    fn found_by_openssh(&self, name: &str) -> Vec<String> {
        found(&self.file(), name)
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
    home.change(|known| known.pin("[IoT.example.org]:2222", &keys[2..]));
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

#[test]
fn a_key_is_pinned_where_openssh_looks_for_it() {
    let keys = keys();
    let home = Home::with("");
    let config = home.places.ssh_dir.join("config");
    // The jump host has the usual files; all Pis one of their own, and one of them another.
    let text = "Host raspberry31\n UserKnownHostsFile ~/.ssh/of_31 ~/.ssh/of_pis /dev/null\nHost nowhere\n UserKnownHostsFile none\n\
                Host raspberry*\n UserKnownHostsFile ~/.ssh/of_pis\n";
    fs::write(&config, text).unwrap();
    let surroundings = crate::places::tests::surroundings(&home.places.home);
    let config = pipeline_core::ssh_config::SshConfig::load(&config, &surroundings).unwrap();
    let host = |alias: &str| HostParams { host_key_alias: Some(alias.into()), ..config.resolve(alias).unwrap() };
    let pins: Vec<(HostParams, Vec<HostKey>)> = [("awsbox", 0), ("raspberry31", 1), ("raspberry34", 2)]
        .map(|(alias, key)| (host(alias), vec![keys[key].clone()]))
        .into();
    let editor = Editor::new(home.places.clone(), false);
    let put = |host: &HostParams, keys: &[HostKey], fleet: &[Known]| {
        editor.perform(|| Ok::<_, KnownHostsError>(pin(host, keys, fleet, &home.places)?.into_iter().collect()))
    };
    for (host, keys) in &pins {
        assert_eq!(put(host, keys, &[]).unwrap().len(), 1);
    }
    for ((host, keys), file) in pins.iter().zip(["known_hosts", "of_31", "of_pis"]) {
        assert_eq!(found(&home.places.ssh_dir.join(file), &host.alias), openssh(keys), "{file}");
        assert_eq!(pinned(host).unwrap(), *keys);
    }
    // In none of its files is anything left of a machine that is forgotten.
    let both = [host("raspberry34"), host("raspberry31")].map(|files_of| {
        (HostParams { user_known_hosts_files: files_of.user_known_hosts_files, ..host("raspberry31") }, keys.clone())
    });
    let mine: Vec<HostKey> = pins[1].1.clone();
    for (host, keys) in &both {
        put(host, &[&mine[..], keys].concat(), &[]).unwrap();
    }
    // Whoever judged a key did so before somebody else had it pinned, or had another pinned by this name.
    let numbered = Known::Numbered { pattern: "raspberry{id}".into(), last: 99 };
    let file = || fs::read(home.places.ssh_dir.join("of_pis")).unwrap();
    let before = file();
    let twice = put(&host("raspberry35"), &pins[2].1, std::slice::from_ref(&numbered)).unwrap_err();
    assert!(matches!(&twice, KnownHostsError::Cloned { other, .. } if other == "raspberry34"), "{twice}");
    let other = put(&host("raspberry34"), &keys[..1], &[numbered]).unwrap_err();
    assert!(matches!(&other, KnownHostsError::Taken { name, .. } if name == "raspberry34"), "{other}");
    assert_eq!(file(), before);
    assert_eq!(editor.perform(|| forget(&both[1].0, &home.places)).unwrap().len(), 2);
    assert!(pinned(&both[1].0).unwrap().is_empty());
    assert_eq!(pinned(&pins[2].0).unwrap(), pins[2].1);
    let error = pin(&host("nowhere"), &keys, &[], &home.places).unwrap_err();
    assert!(error.to_string().contains("names no file"), "{error}");
}
