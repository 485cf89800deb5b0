//! Where on this machine the things lie that keytool reads and writes.
//!
//! Pure: what is there is left to the rooms that read it.

use std::path::{Path, PathBuf};

use pipeline_core::config::{Setup, Surroundings};

/// The files and directories of one user.
#[derive(Clone, Debug)]
pub struct Places {
    /// What `~` stands for.
    pub home: PathBuf,
    /// `~/.ssh`.
    pub ssh_dir: PathBuf,
    /// The user's OpenSSH config, which names the devices.
    pub ssh_config: PathBuf,
    /// `~/.ssh/config.d`.
    pub owned_dir: PathBuf,
    /// The included file, which keytool owns.
    pub owned: PathBuf,
    /// Held while files are changed.
    pub lock: PathBuf,
}

/// The line that includes [`Places::owned`]. OpenSSH looks for it below `~/.ssh`, whatever file the line stands in.
pub const INCLUDED: &str = "config.d/pipeline.conf";

impl Places {
    /// Those that follow from home and configuration.
    pub fn new(surroundings: &Surroundings, setup: &Setup) -> Places {
        let ssh_dir = surroundings.home.join(".ssh");
        let owned_dir = ssh_dir.join("config.d");
        Places {
            home: surroundings.home.clone(),
            ssh_config: setup.ssh_config.clone(),
            owned: ssh_dir.join(INCLUDED),
            // Hidden, so that `Include config.d/*` does not read it.
            lock: owned_dir.join(".pipeline.lock"),
            owned_dir,
            ssh_dir,
        }
    }

    /// A path as people write it: `~/.ssh/config`.
    pub fn show(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(rest) if !rest.as_os_str().is_empty() => format!("~/{}", rest.display()),
            _ => path.display().to_string(),
        }
    }

    /// A text with all such paths in it.
    pub fn show_in(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.home.display()), "~/")
    }

    /// The private key that is called `name`.
    pub fn key(&self, name: &str) -> PathBuf {
        self.ssh_dir.join(name)
    }
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Those of a home without a configuration.
    pub fn places(home: &Path) -> Places {
        let surroundings = surroundings(home);
        Places::new(&surroundings, &Setup::without_file(&surroundings))
    }

    /// Somebody's whose home it is.
    pub fn surroundings(home: &Path) -> Surroundings {
        Surroundings {
            home: home.into(),
            user: "bee".into(),
            uid: rustix::process::getuid().as_raw(),
            xdg_state_home: None,
            env: BTreeMap::new(),
        }
    }

    #[test]
    fn paths_are_shown_as_people_write_them() {
        let places = places("/home/bee".as_ref());
        assert_eq!(places.show(&places.owned), "~/.ssh/config.d/pipeline.conf");
        assert_eq!(places.show("/etc/x".as_ref()), "/etc/x");
        assert_eq!(places.show(&places.home), "/home/bee");
        assert_eq!(places.show_in("can't read /home/bee/x: /home/bees/y"), "can't read ~/x: /home/bees/y");
    }
}
