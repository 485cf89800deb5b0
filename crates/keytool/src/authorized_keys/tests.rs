//! The scripts, with dash and with busybox, on real files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use pipeline_core::error::Classified;

use super::*;
use crate::shell::tests::{Local, shells};

const OURS: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS pipeline raspberry31";
/// Three keys with options and comments, a Windows line and no line break at the end.
pub(super) const FOREIGN: &str = "# of the house\n\
    from=\"10.0.0.0/8\",command=\"echo \\\"hi, you\\\"\"  ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHrdV4yNWBkQ7zJdC0qyv4kn6Eqzqpz9giqA8VEUqjRF bob's key\r\n\
    \n\
    restrict,port-forwarding ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHrdV4yNWBkQ7zJdC0qyv4kn6Eqzqpz9giqA8VEUqjRG x  y\n\
    ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHrdV4yNWBkQ7zJdC0qyv4kn6Eqzqpz9giqA8VEUqjRH 'quoted' $(reboot)";

pub(super) fn ours() -> Entry {
    let (key, comment) = Key::parse(OURS).unwrap();
    Entry::plain(key, &comment)
}

fn add(shell: &dyn Shell) -> Result<bool, AuthorizedKeysError> {
    edit(shell, |keys| keys.ensure(&ours()))
}

/// Runs `check` with each shell, in an empty home.
fn with_each_shell(check: impl Fn(&Local, &Path)) {
    let (home, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for mut shell in shells(home.path(), tools.path()) {
        let own = tempfile::tempdir_in(home.path()).unwrap();
        shell.home = own.path().to_owned();
        check(&shell, own.path());
    }
}

/// A home with a file in it.
pub(super) fn write(home: &Path, content: &str) -> PathBuf {
    fs::create_dir_all(home.join(".ssh")).unwrap();
    let file = home.join(".ssh/authorized_keys");
    fs::write(&file, content).unwrap();
    file
}

pub(super) fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

pub(super) fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_key_is_added_once_and_taken_away_again() {
    with_each_shell(|shell, home| {
        assert_eq!(read(shell).unwrap(), AuthorizedKeys::default());
        assert!(add(shell).unwrap());
        let file = home.join(".ssh/authorized_keys");
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{OURS}\n"));
        assert_eq!((mode(home.join(".ssh")), mode(&file)), (0o700, 0o600));
        assert!(!add(shell).unwrap());

        for (before_mode, after_mode) in [(0o600, 0o600), (0o400, 0o400), (0o644, 0o644), (0o666, 0o644)] {
            write(home, "");
            fs::remove_file(&file).unwrap();
            write(home, FOREIGN);
            fs::set_permissions(&file, PermissionsExt::from_mode(before_mode)).unwrap();
            assert!(add(shell).unwrap());
            assert_eq!(fs::read_to_string(&file).unwrap(), format!("{FOREIGN}\n{OURS}\n"));
            assert_eq!(mode(&file), after_mode);
            assert_eq!(read(shell).unwrap().entries().len(), 4);
            assert!(edit(shell, |keys| keys.without(|entry| entry.key == ours().key)).unwrap());
            assert_eq!(fs::read_to_string(&file).unwrap(), format!("{FOREIGN}\n"));
        }
        assert_eq!(names(&home.join(".ssh")), ["authorized_keys".to_owned()].into());
    });
}

#[test]
fn a_link_is_followed_and_stays() {
    with_each_shell(|shell, home| {
        let kept = home.join("kept");
        fs::create_dir(&kept).unwrap();
        fs::create_dir(home.join(".ssh")).unwrap();
        let file = home.join(".ssh/authorized_keys");
        symlink("../kept/keys", &file).unwrap();
        // What it leads to need not be there yet.
        assert!(add(shell).unwrap());
        assert_eq!(fs::read_to_string(kept.join("keys")).unwrap(), format!("{OURS}\n"));
        fs::write(kept.join("keys"), FOREIGN).unwrap();
        assert!(add(shell).unwrap());
        assert_eq!(fs::read_to_string(kept.join("keys")).unwrap(), format!("{FOREIGN}\n{OURS}\n"));
        assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
        assert_eq!(
            (names(&kept), names(&home.join(".ssh"))),
            (["keys".into()].into(), ["authorized_keys".into()].into())
        );
    });
}

#[test]
fn what_changes_meanwhile_is_not_lost() {
    with_each_shell(|shell, home| {
        let file = write(home, FOREIGN);
        let meanwhile = std::cell::Cell::new(true);
        let changed = edit(shell, |keys| {
            if meanwhile.take() {
                fs::write(&file, format!("{FOREIGN}\n# mine\n")).unwrap();
            }
            keys.ensure(&ours())
        });
        assert!(changed.unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{FOREIGN}\n# mine\n{OURS}\n"));

        fs::write(&file, FOREIGN).unwrap();
        let count = std::cell::Cell::new(0);
        let error = edit(shell, |keys| {
            count.set(count.get() + 1);
            fs::write(&file, format!("{FOREIGN}\n# {}\n", count.get())).unwrap();
            keys.ensure(&ours())
        });
        assert!(matches!(error, Err(AuthorizedKeysError::Restless)), "{error:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{FOREIGN}\n# {}\n", count.get()));
        assert_eq!(names(&home.join(".ssh")), ["authorized_keys".to_owned()].into());
    });
}

#[test]
fn what_cannot_be_changed_is_told_and_stays() {
    with_each_shell(|shell, home| {
        let none = Local { home: home.join("none"), shell: shell.shell.clone(), path: shell.path.clone() };
        assert!(matches!(read(&none), Err(AuthorizedKeysError::Homeless)));
        assert!(matches!(swap(&none, None, b"x"), Err(AuthorizedKeysError::Homeless)));

        fs::write(home.join(".ssh"), "a file").unwrap();
        let error = add(shell).unwrap_err();
        assert!(matches!(&error, AuthorizedKeysError::Unwritable(words) if words.contains("File exists")), "{error}");
        fs::remove_file(home.join(".ssh")).unwrap();

        fs::create_dir_all(home.join(".ssh/authorized_keys")).unwrap();
        assert!(matches!(add(shell), Err(AuthorizedKeysError::NotAFile)));
        fs::remove_dir(home.join(".ssh/authorized_keys")).unwrap();
        // Of two names that lead to one file sshd may read either: neither must change behind the other.
        let file = write(home, FOREIGN);
        fs::hard_link(&file, home.join("other")).unwrap();
        assert!(matches!(add(shell), Err(AuthorizedKeysError::Linked)));
        assert_eq!((fs::read_to_string(&file).unwrap(), names(&home.join(".ssh")).len()), (FOREIGN.to_owned(), 1));
        fs::remove_file(home.join("other")).unwrap();
        write(home, &"x".repeat(1024 * 1024 + 1));
        assert!(matches!(add(shell), Err(AuthorizedKeysError::TooLarge)));
    });
}

/// dash where something is mounted over `$HOME/.ssh`, or the like, for each command.
fn in_mounts(home: &Path, mount: &str) -> Option<Local> {
    let allowed = std::process::Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|s| s.success());
    if !allowed {
        eprintln!("skipped: unshare -rm is not allowed here");
        return None;
    }
    let script = format!("{mount} && exec dash \"$@\"");
    let shell = ["unshare", "-rm", "sh", "-c", &script, "sh"].map(PathBuf::from).to_vec();
    Some(Local { shell, home: home.to_owned(), path: std::env::var("PATH").unwrap() })
}

#[test]
fn a_full_disk_and_one_that_takes_nothing_leave_all_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let file = write(home.path(), FOREIGN);
    let full = "mount -t tmpfs -o size=16k tmpfs $HOME/.ssh && head -c 9000 /dev/zero > $HOME/.ssh/authorized_keys";
    let Some(shell) = in_mounts(home.path(), full) else { return };
    let error = add(&shell).unwrap_err();
    assert!(matches!(&error, AuthorizedKeysError::NoSpace(_)), "{error}");
    assert!(error.hint().unwrap().starts_with("free some space"));

    let read_only = "mount --bind $HOME $HOME && mount -o remount,ro,bind $HOME";
    let Some(shell) = in_mounts(home.path(), read_only) else { return };
    let error = add(&shell).unwrap_err();
    assert!(matches!(&error, AuthorizedKeysError::Unwritable(words) if words.contains("Read-only")), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), FOREIGN);
    assert_eq!(names(&home.path().join(".ssh")), ["authorized_keys".to_owned()].into());
}
