//! Keys that are bound, rotated and removed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use local_fleet::{Fleet, account};

use crate::scene::{FOREIGN, PI_PASSWORD, Scene, authorized, public_key, run};

/// What a line of `authorized_keys` lets its key do.
fn options_of(line: &str) -> &str {
    line.split_once("ssh-ed25519").unwrap().0
}

#[test]
fn keys_that_may_do_one_thing_and_keys_that_take_anothers_place() {
    // There is another file, and sshd goes by its lines first.
    let files = "AuthorizedKeysFile .ssh/authorized_keys2 .ssh/authorized_keys\n";
    let scene = Scene::new(Fleet::builder().pis(2).ids(&[31, 34]).pi_config(files));
    scene.init(&[]).expect(0);
    let (bound, plain) = (scene.fleet.pi(31), scene.fleet.pi(34));
    let source = bound.source();
    let restrict = ["--restrict", source.to_str().unwrap()];

    scene.add_pi(&[&["31"], &restrict[..]].concat(), PI_PASSWORD).expect(0);
    let line = authorized(bound);
    assert!(line.starts_with("restrict,command=\"exec ~/.local/lib/pipeline/pipeline-agent serve --root '"), "{line}");
    let touched = bound.home().join("touched");
    scene.ssh(&["raspberry31", &format!("touch {}", touched.display())]);
    assert!(!touched.exists(), "the key runs commands");
    // The agent answers; nothing is left to do, and no password is needed.
    scene.keytool(&[&["add-pi", "31"], &restrict[..]].concat(), "").expect(0);
    scene.keytool(&["check", "31"], "").expect(0).says(&["works"]);
    assert_eq!(authorized(bound), line);
    // One that is bound to something else serves no visit, and one that is bound elsewhere not ours.
    let mistaken = line.replace(options_of(&line), "restrict,command=\"printf works\" ");
    account::authorize(&bound.home(), &mistaken).unwrap();
    scene.keytool(&["check", "31"], "").expect(3).says(&["works", "a visit could not begin"]);
    let elsewhere = ["31", "--restrict", "/nowhere"];
    scene.add_pi(&elsewhere, PI_PASSWORD).expect(3).says(&["the source of raspberry31 is ", "no directory /nowhere"]);
    account::authorize(&bound.home(), &line).unwrap();
    // A line that we do not know of lets the key do everything.
    let more = bound.home().join(".ssh/authorized_keys2");
    fs::write(&more, public_key(&scene, "raspberry31")).unwrap();
    scene.keytool(&[&["add-pi", "31"], &restrict[..]].concat(), "").expect(3).says(&["but still runs commands"]);
    fs::remove_file(&more).unwrap();
    assert_eq!(authorized(bound), line);
    let refused = scene.keytool(&["grants", "31"], "").expect(3).says(&["as one that is bound to the agent"]);
    assert!(!refused.text().contains("nobody"), "{}", refused.text());
    // It can't change its own line, so somebody else has to get in.
    scene.keytool(&["rotate", "31"], "").expect(2).says(&["nobody can be asked", "--password-stdin"]);
    // A number that leads to no Pi keeps no other.
    let rotated = scene.keytool(&["rotate", "99", "31", "--password-stdin"], PI_PASSWORD);
    rotated.expect(3).says(&["raspberry99 has no entry", "raspberry31: new key SHA256:"]);
    let rotated = authorized(bound);
    assert_eq!((options_of(&rotated), rotated.lines().count()), (options_of(&line), 1));
    assert_ne!(rotated, line);
    scene.keytool(&[&["add-pi", "31"], &restrict[..]].concat(), "").expect(0);

    // What somebody has written about its place and time stays when it is bound.
    let bounds = r#"from="127.0.0.1,::1",expiry-time="20991231""#;
    let (options, key) = rotated.split_once("ssh-ed25519").unwrap();
    account::authorize(&bound.home(), &format!("{bounds} ssh-ed25519{key}")).unwrap();
    scene.keytool(&[&["add-pi", "31"], &restrict[..]].concat(), "").expect(0);
    assert_eq!(authorized(bound), format!("{},{bounds} ssh-ed25519{key}", options.trim_end()));
    scene.ssh(&["raspberry31", &format!("touch {}", touched.display())]);
    assert!(!touched.exists(), "the key runs commands");
    account::authorize(&bound.home(), &rotated).unwrap();

    // An agent of another version does not serve us: it is replaced, which needs another way in.
    let place = bound.home().join(".local/lib/pipeline/pipeline-agent");
    let agent = fs::read(&place).unwrap();
    // The last session may still be running the one that is there.
    fs::remove_file(&place).unwrap();
    fs::write(&place, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&place, PermissionsExt::from_mode(0o700)).unwrap();
    scene.keytool(&[&["add-pi", "31"], &restrict[..]].concat(), "").expect(2);
    scene.add_pi(&[&["31"], &restrict[..]].concat(), PI_PASSWORD).expect(0);
    assert_eq!((&fs::read(&place).unwrap(), authorized(bound).as_str()), (&agent, rotated.as_str()));

    // Killed before any step, the key in use is let in, and the next rotation ends the work.
    // Taken in by a key that is let in there already.
    let admin = scene.fleet.root().join("admin");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "admin", "-f"]).arg(&admin);
    run(keygen, "").expect(0);
    let public = fs::read_to_string(admin.with_extension("pub")).unwrap();
    let theirs = format!("{FOREIGN}\n{}", public.trim_end());
    account::authorize(&plain.home(), &theirs).unwrap();
    let list = scene.fingerprints();
    let by_key = ["--fingerprints", list.to_str().unwrap(), "--identity", admin.to_str().unwrap()];
    scene.keytool(&[&["add-pi", "34"], &by_key[..]].concat(), "").expect(0);
    assert_eq!(authorized(plain), format!("{theirs}\n{}", public_key(&scene, "raspberry34")));
    // What people keep beside a key is no rotation that was begun: neither a copy of the one in use, nor another.
    let backups = [("raspberry34", "raspberry34.old"), ("raspberry31", "raspberry34.new")];
    for (key, backup) in backups {
        for half in ["", ".pub"] {
            let [key, backup] = [key, backup].map(|name| scene.home(&format!(".ssh/{name}{half}")));
            fs::copy(key, backup).unwrap();
        }
    }
    let first = public_key(&scene, "raspberry34");
    let mut kills = 0;
    for call in ["renameat2", "linkat", "rename"] {
        for count in 1.. {
            let before = public_key(&scene, "raspberry34");
            if !scene.killed(&["rotate", "34"], "", call, count) {
                break;
            }
            scene.ssh(&["raspberry34", "true"]).expect(0);
            let swapped = !scene.home(".ssh/raspberry34.keytool-new").exists()
                && ["", ".pub"].iter().any(|half| scene.home(&format!(".ssh/raspberry34.keytool-old{half}")).exists());
            let said = scene.keytool(&["rotate", "34"], "").expect(0).says(&["new key SHA256:"]).text();
            assert_eq!(said.contains("an interrupted rotation was finished"), swapped, "{said}");
            let after = public_key(&scene, "raspberry34");
            assert_ne!(before, after, "{call} {count}");
            assert_eq!(authorized(plain), format!("{theirs}\n{after}"), "{call} {count}");
            kills += 1;
        }
    }
    // Both halves of the new pair, of the swap and of what is set aside; the second name of the old one; its replacement.
    assert_eq!(kills, 8);
    let names =
        fs::read_dir(scene.home(".ssh")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let (left, names): (Vec<String>, Vec<String>) = names.partition(|name| name.contains(".keytool"));
    assert!(left.is_empty(), "{left:?}");
    // Whoever was killed between the halves of a pair that is set aside finds them together in the end.
    let (public, private): (Vec<&String>, Vec<&String>) =
        names.iter().filter(|name| name.contains(".retired-")).partition(|name| name.ends_with(".pub"));
    assert!(private.len() > 8 && private.iter().all(|name| public.contains(&&format!("{name}.pub"))), "{names:?}");
    assert_eq!(public_key(&scene, "raspberry34.old"), first);
    assert_eq!(public_key(&scene, "raspberry34.new"), public_key(&scene, "raspberry31"));
    // Two at once: one of them does it, and the other says who did, or comes after it.
    let before = public_key(&scene, "raspberry34");
    let rotate = || scene.keytool(&["rotate", "34"], "");
    let both = std::thread::scope(|scope| [scope.spawn(rotate), scope.spawn(rotate)].map(|one| one.join().unwrap()));
    assert!(both.iter().any(|ended| ended.output.status.success()), "{}{}", both[0].text(), both[1].text());
    for ended in both.iter().filter(|ended| !ended.output.status.success()) {
        let text = ended.text();
        assert!(ended.output.status.code() == Some(3) && text.contains("another keytool is rotating"), "{text}");
    }
    let after = public_key(&scene, "raspberry34");
    assert_ne!(before, after);
    assert_eq!(authorized(plain), format!("{theirs}\n{after}"));
    scene.ssh(&["raspberry34", "true"]).expect(0);
    // Wherever a copy lies: the key in use is never shut out.
    let (key, copy) = (scene.home(".ssh/raspberry34"), scene.home(".ssh/raspberry34.keytool-old"));
    fs::copy(&key, &copy).unwrap();
    let in_use = authorized(plain);
    scene.keytool(&["rotate", "34"], "").expect(3).says(&["is the key in use, and was not shut out"]);
    assert_eq!(authorized(plain), in_use);
    fs::remove_file(copy).unwrap();
    // Nor is the old one while the login that everybody makes fails: by the entries as they are written.
    let entries = scene.home(".ssh/config.d/pipeline.conf");
    let written = fs::read_to_string(&entries).unwrap();
    let mistaken = written.replace("    User pi\n", "    User nobody\n");
    assert_ne!(mistaken, written);
    fs::write(&entries, mistaken).unwrap();
    scene.keytool(&["rotate", "34"], "").expect(3).says(&["is not let in"]);
    assert_eq!(authorized(plain), in_use + &public_key(&scene, "raspberry34"));
    fs::write(&entries, written).unwrap();
    // Nor is one shut out that a file we do not know of lets in.
    let more = plain.home().join(".ssh/authorized_keys2");
    fs::copy(scene.home(".ssh/raspberry34.keytool-old.pub"), &more).unwrap();
    scene.keytool(&["rotate", "34"], "").expect(3).says(&["is still let in", "authorized_keys2"]);
    assert!(scene.home(".ssh/raspberry34.keytool-old").exists());
    fs::remove_file(&more).unwrap();
    let ended = scene.keytool(&["rotate", "34", "-v"], "").expect(0).says(&["an interrupted rotation was finished"]);
    ended.says(&[
        "raspberry34: shut the old key out",
        "move ~/.ssh/raspberry34.keytool-old to ~/.ssh/raspberry34.retired-",
    ]);
    assert_eq!(authorized(plain), format!("{theirs}\n{}", public_key(&scene, "raspberry34")));

    // One that is let in nowhere takes no place: the Pi's disk is full, or its authorized_keys is not ours.
    let before = public_key(&scene, "raspberry34");
    let keys = plain.home().join(".ssh/authorized_keys");
    fs::remove_file(&keys).unwrap();
    fs::create_dir(&keys).unwrap();
    scene.keytool(&["rotate", "34", "--password-stdin"], PI_PASSWORD).expect(3).says(&["is not a file"]);
    assert_eq!(public_key(&scene, "raspberry34"), before);
    fs::remove_dir(&keys).unwrap();
    account::authorize(&plain.home(), &format!("{theirs}\n{before}")).unwrap();

    // Nobody is there to unlock a key with a passphrase.
    let key = scene.home(".ssh/raspberry34");
    let plain_key = fs::read(&key).unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-p", "-P", "", "-N", "three bees", "-f"]).arg(&key);
    run(keygen, "").expect(0);
    scene.keytool(&["rotate", "34"], "").expect(3).says(&["has a passphrase"]);
    scene.add_pi(&["34"], PI_PASSWORD).expect(0).says(&["the login was not tried"]);
    fs::write(&key, plain_key).unwrap();

    scene.keytool(&["remove-pi", "34", "--dry-run"], "").expect(0).says(&["remove entry raspberry34"]);
    assert_eq!(authorized(plain), format!("{theirs}\n{before}"));
    // A line that can't go stays with all that belongs to it, so that the next one can end it.
    for quiet in [&["--dry-run"][..], &["-q"]] {
        let kept = scene.keytool(&[&["remove-pi", "31"], quiet].concat(), "").expect(3);
        kept.says(&["is bound to the agent there and can't take its own line out", "--password-stdin"]);
        assert_eq!(authorized(bound), rotated);
    }
    // What an interrupted rotation has left may be let in as well; and sshd may look elsewhere.
    let old = fs::read_to_string(scene.home(".ssh/raspberry34.old.pub")).unwrap();
    for half in ["", ".pub"] {
        let [from, to] = ["old", "keytool-old"].map(|name| scene.home(&format!(".ssh/raspberry34.{name}{half}")));
        fs::rename(from, to).unwrap();
    }
    account::authorize(&plain.home(), &format!("{theirs}\n{before}{old}")).unwrap();
    fs::write(&more, &before).unwrap();
    scene.keytool(&["remove-pi", "34"], "").expect(3).says(&["but is still let in", "authorized_keys2"]);
    fs::remove_file(&more).unwrap();
    assert_eq!(authorized(plain), format!("{theirs}\n"));
    account::authorize(&plain.home(), &format!("{theirs}\n{before}{old}")).unwrap();
    scene.keytool(&["remove-pi", "31", "--password-stdin"], PI_PASSWORD).expect(0).says(&["removed the public key"]);
    assert_eq!(authorized(bound), "");
    scene.keytool(&["remove-pi", "34"], "").expect(0);
    assert_eq!(authorized(plain), format!("{theirs}\n"));
    assert_eq!(fs::read_to_string(scene.home(".ssh/config.d/pipeline.conf")).unwrap().matches("Host ").count(), 1);
    assert!(!scene.home(".ssh/raspberry34").exists());
    scene.keytool(&["check"], "").expect(0);
    scene.keytool(&["remove-pi", "34"], "").expect(0).says(&["nothing to do here"]);
    assert!(!scene.home(".ssh/raspberry34.keytool-old").exists());

    // Where our key is not let in, nobody knows whether its line is gone.
    scene.add_pi(&["34"], PI_PASSWORD).expect(0);
    let elsewhere = format!("from=\"10.9.9.9\" {}", public_key(&scene, "raspberry34"));
    account::authorize(&plain.home(), &elsewhere).unwrap();
    let unseen = scene.keytool(&["remove-pi", "34", "-q"], "").expect(3);
    unseen.says(&["does not let our key in, so nobody could see", "ends with 'pipeline raspberry34'"]);
    assert!(!scene.home(".ssh/raspberry34").exists());
}
