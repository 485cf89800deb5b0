//! What the process knows and this crate must not ask for: home, user, environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where and as whom the program runs. The caller fills it in; nothing here looks it up.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// What `~` stands for.
    pub home: PathBuf,
    /// Name of the local user: the login where an OpenSSH config names none.
    pub user: String,
    /// Number of the local user.
    pub uid: u32,
    /// `$XDG_STATE_HOME`, where it is set and absolute.
    pub xdg_state_home: Option<PathBuf>,
    /// The environment, for `${NAME}` in an OpenSSH config and for `SSH_AUTH_SOCK`.
    pub env: BTreeMap<String, String>,
}

impl Surroundings {
    /// Whether the program runs as root.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Expands a leading `~` or `~/`. None for `~somebody`.
    pub fn expand_home(&self, path: &str) -> Option<PathBuf> {
        match path.strip_prefix('~') {
            None => Some(PathBuf::from(path)),
            Some("") => Some(self.home.clone()),
            Some(rest) => rest.strip_prefix('/').map(|rest| self.home.join(rest.trim_start_matches('/'))),
        }
    }
}
