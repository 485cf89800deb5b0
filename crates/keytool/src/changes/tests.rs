use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use pipeline_core::error::Classified;

use super::*;
use crate::places::tests::places;

struct Home {
    dir: tempfile::TempDir,
    places: Places,
}

impl Home {
    fn new() -> Home {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        fs::create_dir_all(&places.owned_dir).unwrap();
        Home { dir, places }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn editor(&self, dry_run: bool) -> Editor {
        Editor::new(self.places.clone(), dry_run)
    }

    fn write(&self, name: &str, text: &str) -> Result<Vec<String>, ChangeError> {
        let path = self.path(name);
        self.editor(false).perform(|| {
            let change = Change::replace(Original::read(&path)?, 0o600, text.into(), "write".into());
            Ok(change.into_iter().collect())
        })
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).filter(|name| name != ".ssh").collect();
        names.sort();
        names
    }
}

#[test]
fn a_replaced_file_keeps_its_mode_and_the_links_that_lead_to_it() {
    let home = Home::new();
    fs::create_dir(home.path("dotfiles")).unwrap();
    fs::write(home.path("dotfiles/config"), "old").unwrap();
    fs::set_permissions(home.path("dotfiles/config"), fs::Permissions::from_mode(0o440)).unwrap();
    symlink("dotfiles/config", home.path("link")).unwrap();
    symlink("link", home.path("config")).unwrap();

    assert_eq!(home.write("config", "new").unwrap(), ["write"]);
    assert_eq!(home.read("dotfiles/config"), "new");
    assert_eq!(fs::metadata(home.path("dotfiles/config")).unwrap().mode() & 0o7777, 0o440);
    assert_eq!(fs::read_link(home.path("config")).unwrap(), Path::new("link"));
    assert_eq!(home.names(), ["config", "dotfiles", "link"], "nothing lies about");
    let inode = fs::metadata(home.path("config")).unwrap().ino();
    assert!(home.write("config", "new").unwrap().is_empty());
    assert_eq!(fs::metadata(home.path("config")).unwrap().ino(), inode, "nothing to do is nothing done");
}

#[test]
fn a_link_that_leads_nowhere_yet_leads_to_the_new_file() {
    let home = Home::new();
    symlink("later", home.path("config")).unwrap();
    home.write("config", "new").unwrap();
    assert_eq!(home.read("later"), "new");
    assert_eq!(fs::metadata(home.path("later")).unwrap().mode() & 0o7777, 0o600);
    symlink("circle", home.path("circle")).unwrap();
    assert!(matches!(home.write("circle", "x"), Err(ChangeError::Read { .. })));
}

#[test]
fn a_file_that_changes_meanwhile_is_looked_at_again() {
    let home = Home::new();
    fs::write(home.path("x"), "a").unwrap();
    let rounds = std::cell::Cell::new(0);
    let append = || {
        let original = Original::read(&home.path("x"))?;
        let content = [original.bytes().map_or(&[][..], Vec::as_slice), b"+"].concat();
        rounds.set(rounds.get() + 1);
        if rounds.get() == 2 {
            // Somebody else, between our look and our change.
            fs::write(home.path("x"), "somebody's").unwrap();
        }
        Ok::<_, ChangeError>(Change::replace(original, 0o600, content, "append".into()).into_iter().collect())
    };
    assert_eq!(home.editor(false).perform(append).unwrap(), ["append"]);
    assert_eq!(home.read("x"), "somebody's+");
    assert_eq!(rounds.get(), 3);

    let always = || {
        let original = Original::read(&home.path("x"))?;
        rounds.set(rounds.get() + 1);
        fs::write(home.path("x"), format!("round {}", rounds.get())).unwrap();
        Ok::<_, ChangeError>(Change::replace(original, 0o600, b"ours".to_vec(), "x".into()).into_iter().collect())
    };
    assert!(matches!(home.editor(false).perform(always), Err(ChangeError::Changed { .. })));
    assert!(home.read("x").starts_with("round "));
}

#[test]
fn what_is_created_replaces_nothing() {
    let home = Home::new();
    symlink("nowhere", home.path("dangling")).unwrap();
    fs::write(home.path("there"), "old").unwrap();
    for name in ["dangling", "there"] {
        let path = home.path(name);
        let create = || Ok::<_, ChangeError>(vec![Change::create(&path, 0o600, b"new".to_vec(), "x".into())]);
        assert!(matches!(home.editor(false).perform(create), Err(ChangeError::Exists { .. })), "{name}");
        let aside = || Ok::<_, ChangeError>(vec![Change::move_aside(&home.path("there"), &path, &home.places)]);
        assert!(matches!(home.editor(false).perform(aside), Err(ChangeError::Exists { .. })), "{name}");
    }
    // Not even what appears in the last moment.
    let path = home.path("late");
    let later = Change::create_later(&path, 0o600, "x".into(), {
        let path = path.clone();
        move || {
            fs::write(&path, "theirs").unwrap();
            Ok(Zeroizing::new(b"ours".to_vec()))
        }
    });
    assert!(matches!(later.make(), Err(ChangeError::Exists { .. })));
    assert_eq!((home.read("there"), home.read("late")), ("old".into(), "theirs".into()));
    assert_eq!(home.names(), ["dangling", "late", "there"], "nothing lies about");
}

#[test]
fn what_an_interrupted_keytool_left_is_no_obstacle() {
    let home = Home::new();
    fs::write(home.path(".x.keytool"), "half of a key, which must not be seen by").unwrap();
    fs::set_permissions(home.path(".x.keytool"), fs::Permissions::from_mode(0o444)).unwrap();
    home.write("x", "new").unwrap();
    assert_eq!((home.read("x").as_str(), home.names()), ("new", vec!["x".to_owned()]));
}

#[test]
fn a_dry_run_tells_the_same_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let places = places(dir.path());
    let file = places.owned.clone();
    let decide = || {
        let dirs = [&places.ssh_dir, &places.owned_dir].into_iter();
        let mut changes: Vec<_> = dirs.filter_map(|dir| Change::make_dir(dir, 0o700, &places)).collect();
        changes.extend(Change::replace(Original::read(&file)?, 0o600, b"x".to_vec(), "write it".into()));
        Ok::<_, ChangeError>(changes)
    };
    let told = Editor::new(places.clone(), true).perform(decide).unwrap();
    assert_eq!(told, ["make directory ~/.ssh", "make directory ~/.ssh/config.d", "write it"]);
    assert!(!places.ssh_dir.exists());
    assert_eq!(Editor::new(places.clone(), false).perform(decide).unwrap(), told);
    assert_eq!(fs::metadata(&places.ssh_dir).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn what_is_no_file_is_neither_read_nor_replaced() {
    let home = Home::new();
    // Reading it would wait for a writer for ever; as root, replacing `/dev/null` would take it away from the whole machine.
    rustix::fs::mkfifoat(rustix::fs::CWD, home.path("pipe"), rustix::fs::Mode::RWXU).unwrap();
    fs::create_dir(home.path("directory")).unwrap();
    symlink("/dev/null", home.path("null")).unwrap();
    for name in ["pipe", "directory", "null"] {
        let error = home.write(name, "new").unwrap_err();
        assert!(matches!(&error, ChangeError::NotAFile { path } if *path == home.path(name)), "{name}: {error}");
        assert!(error.hint().unwrap().contains("UserKnownHostsFile"), "{name}");
        assert!(!fs::metadata(home.path(name)).unwrap().is_file(), "{name}");
    }
    assert_eq!(home.names(), ["directory", "null", "pipe"], "nothing lies about");
}

#[test]
fn a_directory_that_is_not_ours_to_write_is_an_error_with_its_name() {
    let home = Home::new();
    fs::write(home.path("file"), "").unwrap();
    let error = home.write("file/x", "new").unwrap_err();
    assert!(error.to_string().starts_with("can't read "), "{error}");
    let path = home.path("no/such/dir");
    let create = || Ok::<_, ChangeError>(vec![Change::create(&path, 0o600, vec![], "x".into())]);
    let error = home.editor(false).perform(create).unwrap_err();
    assert!(error.to_string().ends_with("no/such/dir") && error.hint().is_some(), "{error}");
}

#[test]
#[allow(clippy::print_stderr)] // a test that is skipped says so
fn root_makes_nothing_in_the_home_of_another() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a directory away");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let places = places(home.path());
    std::os::unix::fs::chown(home.path(), Some(12_345), None).unwrap();
    let decide = || Ok::<_, ChangeError>(crate::local::directories(&places));
    let refused = Editor::new(places.clone(), false).perform(decide).unwrap_err();
    assert!(matches!(refused, ChangeError::OtherOwner { .. }), "{refused}");
    assert!(!places.ssh_dir.exists());
    std::os::unix::fs::chown(home.path(), Some(0), None).unwrap();
    assert_eq!(Editor::new(places.clone(), false).perform(decide).unwrap().len(), 2);
}

#[test]
fn what_is_marked_as_fixed_keeps_everything_as_it_is() {
    let home = Home::new();
    fs::write(home.path("config"), "old").unwrap();
    let marks = |marks: &str| std::process::Command::new("chattr").arg(marks).arg(home.path("config")).output();
    if !marks("+i").is_ok_and(|output| output.status.success()) {
        // Some file systems have no such marks, and only root may set them.
        return;
    }
    let path = home.path("config");
    let both = || {
        let config = Change::replace(Original::read(&path)?, 0o600, b"new".to_vec(), "replace".into());
        let first = Change::create(&home.path("first"), 0o600, Vec::new(), "create".into());
        Ok::<_, ChangeError>([Some(first), config].into_iter().flatten().collect())
    };
    let found = [home.editor(true).perform(both), home.editor(false).perform(both)];
    marks("-i").unwrap();
    for error in found.map(Result::unwrap_err) {
        assert!(matches!(error, ChangeError::Fixed { obstacle: Obstacle::Immutable, .. }), "{error}");
        assert!(error.hint().unwrap().starts_with("'sudo chattr -i "), "{error}");
    }
    assert_eq!((home.names(), home.read("config")), (vec!["config".to_owned()], "old".to_owned()));
    home.editor(false).perform(both).unwrap();
}
