//! What [`SshConfig`] makes of a config is what the installed `ssh` makes of it, field by field.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pipeline_core::config::Surroundings;
use pipeline_core::ssh_config::{HostParams, SshConfig};

/// A home with an OpenSSH config, and the real `ssh` beside it.
struct Home {
    dir: tempfile::TempDir,
    /// Where `ssh` believes home to be: it asks passwd and not `$HOME`, except for `Include`.
    real: String,
    user: String,
    uid: u32,
}

impl Home {
    fn new(files: &[(&str, &str)]) -> Home {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("@DIR@", dir.path().to_str().unwrap())).unwrap();
        }
        let defaults = run_ssh(&["-G", "-F", "none", "anything"], dir.path());
        let field = |name: &str| fields(&defaults, name)[0].clone();
        let known_hosts = field("userknownhostsfile");
        let real = known_hosts.split("/.ssh/").next().unwrap().to_owned();
        use std::os::unix::fs::MetadataExt;
        let uid = fs::metadata(dir.path()).unwrap().uid();
        Home { real, user: field("user"), uid, dir }
    }

    fn surroundings(&self) -> Surroundings {
        let home = self.dir.path().to_str().unwrap();
        let env =
            [("HOME", home), ("SSH_AUTH_SOCK", "/run/agent.sock"), ("FIELD", "ohio"), ("SITE_AGENT", "/run/site.sock")];
        Surroundings {
            home: self.dir.path().to_owned(),
            user: self.user.clone(),
            uid: self.uid,
            xdg_state_home: None,
            env: env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>(),
        }
    }

    fn load(&self) -> SshConfig {
        SshConfig::load(&self.dir.path().join("config"), &self.surroundings()).unwrap()
    }

    fn ssh(&self, arguments: &[&str], alias: &str) -> Output {
        let config = self.dir.path().join("config");
        let mut all = vec!["-F", config.to_str().unwrap()];
        all.extend_from_slice(arguments);
        all.push(alias);
        run_ssh(&all, self.dir.path())
    }

    /// A path of `ssh`, seen from our home.
    fn ours(&self, path: &str) -> PathBuf {
        let home = self.dir.path();
        match path.strip_prefix("~/").or_else(|| path.strip_prefix(&self.real).and_then(|rest| rest.strip_prefix('/')))
        {
            Some(rest) => home.join(rest),
            None => PathBuf::from(path),
        }
    }
}

struct Output {
    stdout: String,
    stderr: String,
}

fn run_ssh(arguments: &[&str], home: &Path) -> Output {
    let output = Command::new("ssh")
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home)
        .env("SSH_AUTH_SOCK", "/run/agent.sock")
        .env("FIELD", "ohio")
        .env("SITE_AGENT", "/run/site.sock")
        .stdin(std::process::Stdio::null())
        .output()
        .expect("these tests compare with the OpenSSH client: install openssh-client");
    Output { stdout: String::from_utf8(output.stdout).unwrap(), stderr: String::from_utf8(output.stderr).unwrap() }
}

fn fields(output: &Output, name: &str) -> Vec<String> {
    let values = output.stdout.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.map(str::to_owned).collect()
}

/// `-G` prints several files on one line and does not quote: only configs whose file names have no blank are compared.
fn files(home: &Home, output: &Output, name: &str) -> Vec<PathBuf> {
    let line = fields(output, name).join(" ");
    line.split(' ').filter(|file| *file != "none").map(|file| home.ours(file)).collect()
}

fn compare(case: &str, home: &Home, host: &HostParams) {
    let alias = host.alias.as_str();
    let output = home.ssh(&["-G"], alias);
    assert!(!output.stdout.is_empty(), "{case}, {alias}: ssh refuses: {}", output.stderr);
    let one = |name: &str| fields(&output, name).pop();
    assert_eq!(Some(&host.hostname), one("hostname").as_ref(), "{case}, {alias}: HostName");
    assert_eq!(Some(host.port.to_string()), one("port"), "{case}, {alias}: Port");
    assert_eq!(Some(&host.user), one("user").as_ref(), "{case}, {alias}: User");
    assert_eq!(host.host_key_alias, one("hostkeyalias"), "{case}, {alias}: HostKeyAlias");
    let identities_only = if host.identities_only { "yes" } else { "no" };
    assert_eq!(Some(identities_only), one("identitiesonly").as_deref(), "{case}, {alias}: IdentitiesOnly");
    let agent = match one("identityagent").as_deref() {
        None | Some("SSH_AUTH_SOCK") => Some(PathBuf::from("/run/agent.sock")),
        Some("none") => None,
        Some("$SITE_AGENT") => Some(PathBuf::from("/run/site.sock")),
        Some(path) => Some(home.ours(path)),
    };
    assert_eq!(host.identity_agent, agent, "{case}, {alias}: IdentityAgent");
    assert_eq!(
        host.user_known_hosts_files,
        files(home, &output, "userknownhostsfile"),
        "{case}, {alias}: UserKnownHostsFile"
    );
    assert_eq!(
        host.global_known_hosts_files,
        files(home, &output, "globalknownhostsfile"),
        "{case}, {alias}: GlobalKnownHostsFile"
    );
    let hops: Vec<String> = host.proxy_jump.iter().map(written).collect();
    let jump = one("proxyjump").map(|jump| jump.replace("ssh://", "")).unwrap_or_default();
    assert_eq!(hops.join(","), jump, "{case}, {alias}: ProxyJump");
    let command = one("proxycommand").filter(|_| jump.is_empty());
    assert_eq!(host.proxy_command, command, "{case}, {alias}: ProxyCommand");
    compare_identities(case, home, host, &output);
}

/// `-G` does not expand identity files; the log of a connection to nowhere does.
fn compare_identities(case: &str, home: &Home, host: &HostParams, output: &Output) {
    let alias = host.alias.as_str();
    let written = fields(output, "identityfile");
    let unusable = |path: &str| path.ends_with("_sk") || path.ends_with("id_xmss") || path.ends_with("id_dsa");
    let defaults = written.iter().any(|path| unusable(path));
    assert_eq!(host.default_identities, defaults, "{case}, {alias}: are these the default identities? {written:?}");
    let log = home.ssh(&["-v", "-o", "ProxyJump=none", "-o", "ProxyCommand=/bin/true"], alias).stderr;
    let mut expected = Vec::new();
    for line in log.lines() {
        let Some(rest) = line.strip_prefix("debug1: identity file ") else { continue };
        let path = rest.rsplit_once(" type ").unwrap().0;
        if !(path.ends_with("-cert") || defaults && unusable(path)) {
            expected.push(home.ours(path));
        }
    }
    if !defaults && written.iter().all(|path| path == "none") {
        assert!(expected.is_empty(), "{case}, {alias}: {expected:?}");
    } else {
        assert!(!expected.is_empty(), "{case}, {alias}: no identity file in the log of ssh: {log}");
    }
    assert_eq!(host.identity_files, expected, "{case}, {alias}: IdentityFile");
}

fn written(hop: &pipeline_core::ssh_config::Hop) -> String {
    let user = hop.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let numeric = hop.host.contains(':') || hop.host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let host = if numeric { format!("[{}]", hop.host) } else { hop.host.clone() };
    let port = hop.port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{user}{host}{port}")
}

/// What a config is called, its files (the first is read), and the hosts that are looked up.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

const CASES: &[Case] = &[
    (
        "a fleet behind a jump host, one block for all",
        &[(
            "config",
            "Host awsbox\n  HostName ec2-18-117-1-2.us-east-2.compute.amazonaws.com\n  User ubuntu\n  \
             IdentityFile ~/.ssh/awsbox.pem\n\nHost raspberry31\n  Port 5031\nHost raspberry34\n  Port 5034\n\n\
             Host raspberry*\n  HostName localhost\n  User pi\n  ProxyJump awsbox\n  HostKeyAlias raspberry31\n  \
             IdentityFile ~/.ssh/id_pi\n  IdentitiesOnly yes\n",
        )],
        &["awsbox", "raspberry31", "raspberry34", "raspberry99", "elsewhere"],
    ),
    (
        "first value wins, general block last",
        &[("config", "Host a\n  Port 1\n  Port 2\nHost a b\n  Port 3\n  User u\nHost *\n  Port 4\n  User last\n")],
        &["a", "b", "c"],
    ),
    (
        "values before any Host line count for all and first",
        &[("config", "User everywhere\nHost a\n  User never\n  Port 9\n")],
        &["a", "b"],
    ),
    (
        "wildcards and negation",
        &[(
            "config",
            "Host pi? !pi9\n  Port 11\nHost * !*.example.org\n  User inside\nHost !pi1\n  Port 12\nHost pi* !pi1 pi1\n  Port 13\n",
        )],
        &["pi1", "pi9", "pi10", "www.example.org", "PI1"],
    ),
    (
        "every way to write a value",
        &[(
            "config",
            "HOST=a\n\thostname = \"a.example\"\r\n  port=2201 # why not\n  uSeR 'pi'\n  IdentityFile=\"~/.ssh/with space\"\n  \
             IdentityFile = plain#not-a-comment\n#Port 1\n    # Port 2\n  HostKeyAlias a\\ b\nHost \"q r\" s\n\tPort\t7\n",
        )],
        &["a", "s"],
    ),
    (
        "several identity files, duplicates once, in the order of the blocks",
        &[(
            "config",
            "Host a\n  IdentityFile ~/.ssh/one\n  IdentityFile /keys/two\nHost *\n  IdentityFile ~/.ssh/three\n  \
             IdentityFile ~/.ssh/one\n",
        )],
        &["a", "b"],
    ),
    (
        "tokens",
        &[(
            "config",
            "Host a\n  HostName %h.bees.example\n  User pi\n  Port 2022\n  IdentityFile ~/.ssh/%n_%h_%p_%r_%%\n  \
             IdentityFile %d/keys/%u-%i\n  IdentityFile ~/.ssh/%k\n  UserKnownHostsFile ~/.ssh/known/%n-%k ~/.ssh/%h\n  \
             IdentityAgent ~/agents/%r\nHost b\n  HostName 100%%.example\n  HostKeyAlias alias-of-b\n  \
             IdentityFile ~/.ssh/%k\n",
        )],
        &["a", "b"],
    ),
    (
        "the environment",
        &[(
            "config",
            "Host a\n  IdentityFile ${HOME}/keys/${FIELD}/%n\n  UserKnownHostsFile /hosts/${FIELD}\n  IdentityAgent ${SITE_AGENT}\n\
             Host b\n  IdentityAgent $SITE_AGENT\nHost c\n  IdentityAgent SSH_AUTH_SOCK\nHost d\n  IdentityAgent none\n",
        )],
        &["a", "b", "c", "d", "e"],
    ),
    (
        "hops in every form",
        &[(
            "config",
            "Host a\n  ProxyJump one\nHost b\n  ProxyJump me@one:22,ssh://you@two:2222,three\nHost c\n  ProxyJump [::1]:22\n\
             Host d\n  ProxyJump 192.0.2.1\nHost e\n  ProxyJump none\nHost f\n  ProxyJump one # by way of one\n\
             Host g\n  ProxyJump=ssh://one/\nHost *\n  ProxyJump general\n",
        )],
        &["a", "b", "c", "d", "e", "f", "g", "h"],
    ),
    (
        "ProxyJump and ProxyCommand rule each other out",
        &[(
            "config",
            "Host a\n  ProxyCommand ssh -W %h:%p box\n  ProxyJump late\nHost b\n  ProxyJump early\n  ProxyCommand nc %h %p\n\
             Host c\n  ProxyCommand none\n  ProxyJump late\n",
        )],
        &["a", "b", "c"],
    ),
    (
        "known_hosts files",
        &[(
            "config",
            "Host a\n  UserKnownHostsFile /x/one ~/.ssh/two\n  GlobalKnownHostsFile /etc/a ~/b\nHost b\n  UserKnownHostsFile none\n  \
             GlobalKnownHostsFile none\nHost c\n  UserKnownHostsFile /dev/null\n  UserKnownHostsFile /x/late\nHost d\n  GlobalKnownHostsFile /x/early\nHost *\n  GlobalKnownHostsFile /x/late\n",
        )],
        &["a", "b", "c", "d"],
    ),
    (
        "no identity at all",
        &[("config", "Host a\n  IdentityFile none\nHost b\n  IdentityFile none\n  IdentityFile ~/.ssh/b\n")],
        &["a", "b"],
    ),
    (
        "includes: absolute, by pattern, below ~/.ssh, absent, in order of name",
        &[
            ("config", "Include @DIR@/parts/*.conf\nInclude fleet/pi-[0-9] absent.conf\nHost *\n  User last\n"),
            ("parts/20-b.conf", "Host a\n  Port 20\n  User twenty\n"),
            ("parts/10-a.conf", "Host a\n  Port 10\n"),
            ("parts/.hidden.conf", "Host *\n  Port 666\n"),
            (".ssh/fleet/pi-1", "Host b\n  HostName one\n"),
            (".ssh/fleet/pi-x", "Host b\n  HostName x\n  Port 7\n"),
        ],
        &["a", "b", "c"],
    ),
    (
        "includes inside blocks",
        &[
            (
                "config",
                "Host a\n  Include @DIR@/inner\n  Port 5\nHost b\n  Port 6\n  Include @DIR@/inner\nHost *\n  User last\n",
            ),
            (
                "inner",
                "User top\nHost b\n  User of-b\n  Port 8\nHost c\n  User of-c\nMatch all\n  HostKeyAlias inner\n",
            ),
        ],
        &["a", "b", "c"],
    ),
    (
        "includes in includes",
        &[
            ("config", "Include ~/one\nHost *\n  Port 3\n"),
            ("one", "Host a\n  Include @DIR@/two @DIR@/three\n  User one\n"),
            ("two", "HostName two.example\n"),
            ("three", "Host a\n  IdentityFile ~/three\n"),
        ],
        &["a", "b"],
    ),
    (
        "Match by host, originalhost, user and localuser",
        &[(
            "config",
            "Host a\n  HostName A.Real.Example\nHost d\n  User deploy\nMatch host a.real.example\n  Port 1001\n\
             Match originalhost a,b user !nobody,*\n  User matched\nMatch user matched\n  HostKeyAlias by-user\n\
             Match !host *.example\n  Port 1002\nMatch user deploy originalhost \"d\"\n  IdentityFile ~/deploy\n\
             Match localuser nobody-at-all\n  User wrong\nMatch localuser=* host=e\n  Port 1005\nMatch all\n  IdentitiesOnly yes\n",
        )],
        &["a", "b", "c", "d", "e"],
    ),
    (
        "Match final reads everything twice, the second time by the real name",
        &[(
            "config",
            "Host a\n  HostName real.example\n  IdentityFile ~/a\nHost real.example\n  User second\n  IdentityFile ~/real\n\
             Match final host real.example\n  Port 77\nMatch canonical\n  HostKeyAlias canonical\nMatch !final\n  IdentityFile ~/first\n\
             Match final all\n  IdentityFile ~/final\n",
        )],
        &["a", "b", "real.example"],
    ),
    (
        "Match canonical alone asks for no second reading",
        &[("config", "Match canonical all\n  Port 77\nHost a\n  User u\n")],
        &["a"],
    ),
    (
        "Match exec where it can't decide",
        &[("config", "Match host nowhere exec \"touch @DIR@/ran\"\n  Port 9\nHost a\n  User u\n")],
        &["a"],
    ),
    (
        "addresses and case",
        &[(
            "config",
            "Host a\n  HostName FE80::0001\nHost b\n  HostName 192.0.2.7\nHost Camera-North\n  User n\nHost e\n  HostName Bee.Example\n",
        )],
        &["a", "b", "Camera-North", "camera-north", "e", "2001:DB8::00ff"],
    ),
    (
        "what other people have in their files",
        &[(
            "config",
            "# generated\nHost *\n  ServerAliveInterval 30\n  ServerAliveCountMax 3\n  StrictHostKeyChecking no\n  ControlMaster auto\n  \
             ControlPath ~/.ssh/cm-%r@%h:%p\n  SendEnv LANG LC_*\n  Ciphers aes128-gcm@openssh.com\n  ForwardAgent no\n  AddKeysToAgent yes\n\n\
             Host a\n  HostName 127.0.0.1\n  LocalForward 8080 localhost:80\n  RemoteForward 5031 localhost:22\n  Compression yes\n",
        )],
        &["a", "b"],
    ),
    ("an empty file", &[("config", "")], &["a"]),
];

#[test]
fn agrees_with_ssh() {
    for (case, files, aliases) in CASES {
        let home = Home::new(files);
        let config = home.load();
        for alias in *aliases {
            let host = config.resolve(alias).unwrap_or_else(|error| panic!("{case}, {alias}: {error}"));
            compare(case, &home, &host);
        }
        assert!(!home.dir.path().join("ran").exists(), "{case}: a command was run");
    }
}

/// Configs that `ssh` refuses and that are refused here.
#[test]
fn refuses_what_ssh_refuses() {
    let table: &[(&str, &str)] = &[
        ("Host a\n  Port many\n", "2: 'many' is not a port"),
        ("Host b\n  Port 0\n", "2: '0' is not a port"),
        ("Host a\n  HostName\n", "2: HostName has an empty argument"),
        ("Host a\n  HostName x y\n", "2: HostName takes one argument, and 'y' is a second"),
        ("Host \"a\n", "1: a quote is not closed"),
        ("Host a\n\n  ProxyJump a, b\n", "3: 'a, b' is not a list of hops for ProxyJump"),
        ("Match moon full\n", "1: 'moon' is not a criterion of Match"),
        ("Match host a user b all\n", "1: 'Match all' can't be combined with other criteria"),
        ("IdentitiesOnly perhaps\n", "1: IdentitiesOnly is yes or no, not 'perhaps'"),
        ("UserKnownHostsFile a none\n", "1: UserKnownHostsFile: 'none' must stand alone"),
        ("Include @DIR@/config\n", "1: Include goes deeper than 16 files"),
    ];
    for (text, problem) in table {
        let home = Home::new(&[("config", text)]);
        let output = home.ssh(&["-G"], "a");
        assert!(output.stdout.is_empty(), "{text}: ssh takes it");
        let file = home.dir.path().join("config");
        let error = SshConfig::load(&file, &home.surroundings()).unwrap_err();
        assert_eq!(error.to_string(), format!("{}:{problem}", file.display()));
    }
}

/// The hops as `ssh` would take them: each is asked with `-G` and the arguments that `ssh` passes to the one before.
fn route_of_ssh(home: &Home, alias: &str, arguments: &[&str]) -> Vec<String> {
    let mut all = vec!["-G"];
    all.extend_from_slice(arguments);
    let output = home.ssh(&all, alias);
    assert!(!output.stdout.is_empty(), "{alias}: ssh refuses: {}", output.stderr);
    let one = |name: &str| fields(&output, name).pop();
    let here = format!("{}@{}:{}", one("user").unwrap(), one("hostname").unwrap(), one("port").unwrap());
    let mut route = match one("proxyjump") {
        None => Vec::new(),
        Some(jump) => {
            let (before, last) = jump.rsplit_once(',').unwrap_or(("", &jump));
            let (user, address) = last.rsplit_once('@').unwrap_or(("", last));
            let (host, port) = match address.strip_prefix('[') {
                Some(rest) => rest.split_once(']').map(|(host, port)| (host, port.trim_start_matches(':'))).unwrap(),
                None => address.split_once(':').unwrap_or((address, "")),
            };
            let mut arguments = Vec::new();
            for (flag, value) in [("-l", user), ("-p", port), ("-J", before)] {
                if !value.is_empty() {
                    arguments.extend([flag, value]);
                }
            }
            route_of_ssh(home, host, &arguments)
        }
    };
    route.push(here);
    route
}

#[test]
fn routes_agree_with_ssh() {
    let config = "Host direct\n  ProxyJump none\nHost one\n  ProxyJump box\nHost two\n  ProxyJump outer,me@box:2222\nHost three\n  \
                  ProxyJump two\nHost four\n  ProxyJump [127.0.0.1]:2200,ssh://you@one:24\nHost box\n  HostName box.example\n  User \
                  ubuntu\n  Port 22022\n  ProxyJump edge\nHost edge\n  ProxyJump none\nHost outer\n  User o\n  ProxyJump edge\n\
                  Match user me\n  HostName special.example\nHost *\n  User pi\n";
    let home = Home::new(&[("config", config)]);
    let read = home.load();
    let mut longest = 0;
    for alias in ["direct", "one", "two", "three", "four", "box", "edge", "outer", "elsewhere"] {
        let route = read.route(alias).unwrap();
        let ours: Vec<String> = route.iter().map(|hop| format!("{}@{}:{}", hop.user, hop.hostname, hop.port)).collect();
        assert_eq!(ours, route_of_ssh(&home, alias, &[]), "{alias}");
        assert_eq!(route.last().unwrap().alias, alias);
        longest = longest.max(route.len());
    }
    assert_eq!(longest, 5);
}

#[test]
fn a_route_in_a_circle_is_refused_as_by_ssh() {
    let home = Home::new(&[("config", "Host *\n  ProxyJump box\n")]);
    let error = home.load().route("pi1").unwrap_err();
    assert_eq!(error.to_string(), "host 'pi1': the ProxyJump hops lead in a circle through 'box'");
    let output = home.ssh(&["-G"], "box");
    assert!(output.stdout.is_empty() && output.stderr.contains("loop"), "{}", output.stderr);
}
