#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::error::{Class, Classified};

struct Home(tempfile::TempDir);

impl Home {
    fn new(files: &[(&str, &str)]) -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        std::fs::create_dir(home.path(".ssh")).unwrap();
        for (name, text) in files {
            std::fs::write(home.path(name), text).unwrap();
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            home: self.0.path().to_owned(),
            user: "bee".into(),
            uid: rustix::process::getuid().as_raw(),
            xdg_state_home: None,
            env: BTreeMap::from([("SITE".to_owned(), "100%h".to_owned())]),
        }
    }

    fn load(&self) -> Result<SshConfig, SshConfigError> {
        SshConfig::load(&self.path("config"), &self.surroundings())
    }

    /// An error and its hint, with `~` for the home.
    fn say(&self, error: &SshConfigError) -> String {
        assert_eq!(error.class(), Class::Config);
        let said = format!("{error}\n{}", error.hint().unwrap_or_default());
        said.replace(self.0.path().to_str().unwrap(), "~")
    }
}

#[test]
fn errors_when_a_file_is_read() {
    let table: [(&[(&str, &str)], &str); 3] = [
        (
            &[],
            "can't read the OpenSSH config ~/config\n'ssh_config' in the configuration names the file; check that \
             ~/config can be read",
        ),
        (&[("config", "\nPort x\n")], "~/config:2: 'x' is not a port\n"),
        (&[("config", "Include ~bob/x\n")], "~/config:1: Include can't follow '~bob/x'\n"),
    ];
    for (files, expected) in table {
        let home = Home::new(files);
        assert_eq!(home.say(&home.load().unwrap_err()), expected);
    }
}

#[test]
fn errors_when_a_host_is_looked_up() {
    let table = [
        (
            "Host pi1\nMatch host pi1 exec \"test -f /x\"\n  Port 7\n",
            "~/config:2: 'Match exec' decides about host 'pi1' and is not supported\nwrite a plain 'Host pi1' block, or leave \
             'pi1' out with '!originalhost pi1'",
        ),
        (
            "Match exec \"false\" user bee\n",
            "~/config:1: 'Match exec' decides about host 'pi1' and is not supported\nwrite a plain 'Host pi1' block, or leave \
             'pi1' out with '!originalhost pi1'",
        ),
        (
            "Match localnetwork 10.0.0.0/8\n",
            "~/config:1: 'Match localnetwork' decides about host 'pi1' and is not supported\nwrite a plain 'Host pi1' block, \
             or leave 'pi1' out with '!originalhost pi1'",
        ),
        (
            "IdentityFile ~/%C\n",
            "host 'pi1': IdentityFile '~/%C': the token %C has no value here\n'ssh -v pi1' shows what OpenSSH makes of it; \
             write the value out",
        ),
        (
            "HostName %p\n",
            "host 'pi1': HostName '%p': the token %p has no value here\n'ssh -v pi1' shows what OpenSSH makes of it; write the \
             value out",
        ),
        (
            "UserKnownHostsFile ${NOWHERE}/x\n",
            "host 'pi1': UserKnownHostsFile '${NOWHERE}/x': the environment has no NOWHERE\n'ssh -v pi1' shows what OpenSSH \
             makes of it; write the value out",
        ),
        (
            "GlobalKnownHostsFile ~bob/x\n",
            "host 'pi1': GlobalKnownHostsFile '~bob/x': another user's home ('~name') is not supported\n'ssh -v pi1' shows \
             what OpenSSH makes of it; write the value out",
        ),
        (
            "ProxyCommand nc %h %p\n",
            "host 'pi1' is reached by ProxyCommand, which is not supported\nwrite 'ProxyJump HOST' instead of 'ProxyCommand ssh \
             -W …'",
        ),
        (
            "Host pi1\n  ProxyJump a\nHost a\n  ProxyJump b\nHost b\n  ProxyJump a\n",
            "host 'pi1': the ProxyJump hops lead in a circle through 'a'\ngive 'Host a' a line 'ProxyJump none'",
        ),
        (
            "Host pi1\n  ProxyJump a\nHost a\n  ProxyCommand nc %h %p\n",
            "host 'a' is reached by ProxyCommand, which is not supported\nwrite 'ProxyJump HOST' instead of 'ProxyCommand ssh -W \
             …'",
        ),
    ];
    for (text, expected) in table {
        let home = Home::new(&[("config", text)]);
        assert_eq!(home.say(&home.load().unwrap().route("pi1").unwrap_err()), expected, "{text}");
    }
}

#[test]
fn what_decides_nothing_about_a_host_does_no_harm() {
    let text = "Match exec \"false\" user nobody\n  Port 7\nHost other\n  ProxyCommand x\n  IdentityFile ~/%C\n";
    let home = Home::new(&[("config", text)]);
    assert_eq!(home.load().unwrap().resolve("pi1").unwrap().port, 22);
}

#[test]
fn hops_know_where_they_lead() {
    let text = "Host pi1\n  HostName real\n  Port 5031\n  User pi\n  ProxyJump %r@gate-%n,%h-%p\n";
    let home = Home::new(&[("config", text)]);
    let route = home.load().unwrap().route("pi1").unwrap();
    let hops: Vec<(&str, &str)> = route.iter().map(|hop| (hop.user.as_str(), hop.hostname.as_str())).collect();
    assert_eq!(hops, [("pi", "gate-pi1"), ("bee", "real-5031"), ("pi", "real")]);
}

#[test]
fn a_value_of_the_environment_is_not_expanded_again() {
    let home = Home::new(&[("config", "IdentityFile /keys/${SITE}/%n\n")]);
    let host = home.load().unwrap().resolve("pi1").unwrap();
    assert_eq!(host.identity_files, [Path::new("/keys/100%h/pi1")]);
}

#[test]
fn an_included_file_must_be_safe() {
    let home = Home::new(&[("config", "Include ~/part\n"), ("part", "")]);
    let set = |mode| std::fs::set_permissions(home.path("part"), PermissionsExt::from_mode(mode)).unwrap();
    set(0o666);
    let said = home.say(&home.load().unwrap_err());
    assert_eq!(
        said,
        "~/part belongs to another user or can be written by everybody\nas for ssh itself: 'chmod go-w ~/part', and own it"
    );
    set(0o644);
    home.load().unwrap();
    let other = Surroundings { uid: home.surroundings().uid + 1, ..home.surroundings() };
    // What belongs to root is fine for everybody.
    let refused = SshConfig::load(&home.path("config"), &other).is_err();
    assert_eq!(refused, home.surroundings().uid != 0);
}

#[test]
fn the_file_of_the_machine_comes_after_the_users_own() {
    let home = Home::new(&[("config", "Host pi1\n  Port 1\n"), ("system", "Host pi1 pi2\n  Port 2\n  User machine\n")]);
    let both = SshConfig::load_both(&home.path("config"), Some(&home.path("system")), &home.surroundings()).unwrap();
    let pi1 = both.resolve("pi1").unwrap();
    assert_eq!((pi1.port, pi1.user.as_str()), (1, "machine"));
    assert_eq!(both.aliases(), ["pi1", "pi2"]);
    assert!(!home.load().unwrap().names("pi2"));

    std::fs::write(home.path("system"), "Include ~/config\n").unwrap();
    let error =
        SshConfig::load_both(&home.path("config"), Some(&home.path("system")), &home.surroundings()).unwrap_err();
    assert_eq!(home.say(&error), "~/system:1: Include can't follow '~/config'\n");
}

#[test]
fn what_is_not_followed_is_noted() {
    let home = Home::new(&[("config", "Host *\n  CanonicalizeHostname yes\n  CanonicalizeHostname no\n")]);
    let file = home.path("config");
    assert_eq!(home.load().unwrap().notes(), [format!("{}:2: CanonicalizeHostname is ignored", file.display())]);
}

#[test]
fn which_aliases_there_are() {
    let text = "Host pi1 pi2\nHost cam-* !cam-9\nHost * !x\nHost Pi1\nHost pi2 !pi4 pi4\nHost pi5\n  Include ~/inner\n";
    let home = Home::new(&[("config", text), ("inner", "Host pi6\nHost pi5 pi7\n")]);
    let config = home.load().unwrap();
    assert_eq!(config.aliases(), ["pi1", "pi2", "Pi1", "pi5"]);
    let table = [
        ("pi1", true),
        ("pi4", false),
        ("cam-1", true),
        ("cam-9", false),
        ("y", false),
        ("pi6", false),
        ("pi7", false),
    ];
    for (alias, expected) in table {
        assert_eq!(config.names(alias), expected, "{alias}");
    }
}

#[test]
fn what_is_not_included_can_be_read_as_if_it_were() {
    let entries = "Host pi1\n  Port 5001\n";
    for (config, included, port) in [
        ("Include ours\n", true, 5001),
        ("Include mine\nHost pi1\n  Port 7\n", true, 5001),
        ("Include *\n", true, 5001),
        ("Host x\n  Include ours\n", false, 22),
        ("Match all\n  Include ours\n", true, 5001),
        ("Match user bee\n  Include ours\n", false, 5001),
        ("Host pi1\n  Port 7\n", false, 7),
        ("", false, 22),
    ] {
        let home = Home::new(&[("config", config), (".ssh/ours", entries), (".ssh/mine", "Include ours\n")]);
        let ours = home.path(".ssh/ours");
        let found = home.load().unwrap();
        assert_eq!(found.includes(&ours), included, "{config}");
        assert_eq!(found.resolve("pi1").unwrap().port, port, "{config}");
        let with = found.with_first(&ours).unwrap();
        assert!(with.includes(&ours) && with.resolve("pi1").unwrap().port == 5001, "{config}");
    }
    let home = Home::new(&[("config", "Host pi1\n  Port 7\n"), (".ssh/ours", entries)]);
    let nowhere = home.load().unwrap().with_first(&home.path(".ssh/nothing")).unwrap();
    assert_eq!(nowhere.resolve("pi1").unwrap().port, 7);
    let missing = SshConfig::load_if_there(&home.path("missing"), &home.surroundings()).unwrap();
    assert_eq!(missing.with_first(&home.path(".ssh/ours")).unwrap().resolve("pi1").unwrap().port, 5001);
}

#[test]
fn a_host_is_named_where_a_line_is_about_it() {
    let config = "Host pi1 pi2\nMatch originalhost pi3,pi4 user bee\nMatch host pi5\nMatch !originalhost pi6\nMatch user pi7\nHost pi*\n";
    let home = Home::new(&[("config", config)]);
    let loaded = home.load().unwrap();
    let line = |alias: &str| loaded.places(alias).first().map(|(_, line)| *line);
    let found = ["pi1", "pi2", "pi3", "pi4", "pi5", "pi6", "pi7", "pi8"].map(line);
    assert_eq!(found, [Some(1), Some(1), Some(2), Some(2), Some(3), None, None, None]);
}
