//! A fleet with a storage, and the sentences that many tests share.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use local_fleet::{Builder, FileFacts, Fleet, snapshot};

use crate::{Ended, Running, run};

/// Files by the path that the default layout gives them, with what there is to know of them.
pub type Tree = BTreeMap<Vec<u8>, FileFacts>;

/// A running fleet whose storage is initialised.
pub struct Scene {
    /// The machines and directories.
    pub fleet: Fleet,
}

impl Scene {
    /// Starts a fleet. Without tunnels, which no story here is about.
    ///
    /// # Panics
    /// Where it does not start, or `pipeline init` fails.
    pub fn new(fleet: Builder) -> Scene {
        let scene = Scene::bare(fleet);
        scene.pipeline(&["init"]).expect(0);
        scene
    }

    /// The same, before `pipeline init`.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn bare(fleet: Builder) -> Scene {
        Scene { fleet: fleet.tunnels(false).start().unwrap_or_else(|error| panic!("{error}")) }
    }

    /// Runs `pipeline` to its end.
    pub fn pipeline(&self, args: &[&str]) -> Ended {
        run(self.command().args(args))
    }

    /// Runs `pipeline sync --json`.
    pub fn sync(&self) -> Ended {
        self.pipeline(&["sync", "--json"])
    }

    /// Begins `pipeline sync --json`.
    pub fn start_sync(&self) -> Running {
        Running::start(self.command().args(["sync", "--json"]))
    }

    /// `pipeline`, ready for its arguments.
    ///
    /// # Panics
    /// Where it was not built.
    pub fn command(&self) -> Command {
        self.fleet.command("pipeline").unwrap_or_else(|error| panic!("{error}"))
    }

    /// Writes a file on a Pi that was left alone for two hours.
    ///
    /// # Panics
    /// Where that fails.
    pub fn write(&self, pi: usize, path: &str, content: &[u8]) -> PathBuf {
        let modified = SystemTime::now() - Duration::from_secs(7200);
        self.fleet.write(pi, path.as_bytes(), content, modified).unwrap_or_else(|error| panic!("{error}"));
        self.fleet.pi(pi).source().join(path)
    }

    /// Replaces a line of the configuration.
    ///
    /// # Panics
    /// Where it is not there.
    #[track_caller]
    pub fn reconfigure(&self, from: &str, to: &str) {
        let file = self.fleet.config_file();
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}"));
        assert!(text.contains(from), "{text}");
        fs::write(&file, text.replace(from, to)).unwrap_or_else(|error| panic!("{error}"));
    }

    /// What lies on the Pis.
    ///
    /// # Panics
    /// Where they can't be listed.
    pub fn offered(&self) -> Tree {
        self.fleet.offered().unwrap_or_else(|error| panic!("{error}"))
    }

    /// What lies in the storage under final names.
    ///
    /// # Panics
    /// Where it can't be listed.
    pub fn archived(&self) -> Tree {
        self.fleet.archived().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Asserts the promise: each of these files is whole on its Pi or whole in the storage, and whatever has a final name is
    /// one of them, whole.
    ///
    /// # Panics
    /// Where it is broken.
    #[track_caller]
    pub fn assert_nothing_lost(&self, ever_offered: &Tree) {
        let (offered, archived) = (self.offered(), self.archived());
        let name = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        for (path, facts) in ever_offered {
            let places = [offered.get(path), archived.get(path)];
            assert!(places.contains(&Some(facts)), "{} is lost: {facts:?}, {places:?}", name(path));
        }
        for (path, facts) in &archived {
            assert_eq!(ever_offered.get(path), Some(facts), "{} in the storage", name(path));
        }
    }

    /// Asserts that all these files are in the storage, the Pis are empty, and no half file is left anywhere.
    ///
    /// # Panics
    /// Where it is not so.
    #[track_caller]
    pub fn assert_all_received(&self, ever_offered: &Tree) {
        assert_eq!(&self.archived(), ever_offered);
        assert_eq!(self.offered(), Tree::new());
        self.assert_nothing_staged();
    }

    /// Asserts that staging is empty.
    ///
    /// # Panics
    /// Where it is not.
    #[track_caller]
    pub fn assert_nothing_staged(&self) {
        let staging = self.fleet.storage().join(".pipeline/staging");
        if staging.exists() {
            let left = snapshot(&staging).unwrap_or_else(|error| panic!("{error}"));
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

/// Bytes that no compression makes smaller, so that a link carries as many as a file has.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    // xorshift64*: https://doi.org/10.1145/2845077
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        content.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    content.truncate(bytes);
    content
}
