//! The environment: the one place that reads it, and what follows from it.
//!
//! Guarantees: an empty variable counts as unset, as the specifications of `XDG_*` and `NO_COLOR` want it. Leaves to others:
//! what is in the files it names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use pipeline_core::config::Surroundings;

use crate::exit::Exit;
use crate::failure::Failure;

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Even in a pipe
    Always,
    /// Not at all
    Never,
}

/// The environment and the user, as they were when the program began.
#[derive(Clone, Debug)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
    home: PathBuf,
    user: String,
    uid: u32,
}

const SYSTEM_CONFIG: &str = "/etc/pipeline/pipeline.yaml";

impl Environment {
    /// Reads it. The user is the one of the user database, as for `ssh`; so is home, where `HOME` is not set.
    pub fn read() -> Environment {
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let variables: BTreeMap<String, OsString> = variables.collect();
        let uid = nix::unistd::getuid();
        // A user the database does not know, as in many containers, is no reason to stop.
        let entry = nix::unistd::User::from_uid(uid).ok().flatten();
        let mut environment = Environment { variables, home: PathBuf::new(), user: String::new(), uid: uid.as_raw() };
        let of_entry = entry.as_ref().map(|entry| (entry.dir.clone(), entry.name.clone()));
        let (dir, name) = of_entry.unwrap_or_else(|| ("/".into(), uid.to_string()));
        environment.home = environment.path("HOME").filter(|home| home.is_absolute()).unwrap_or(dir);
        environment.user = name;
        environment
    }

    /// What the core must know and does not look up itself.
    pub fn surroundings(&self) -> Surroundings {
        let variables = self.variables.iter().filter_map(|(name, value)| Some((name.clone(), value.to_str()?.into())));
        Surroundings {
            home: self.home.clone(),
            user: self.user.clone(),
            uid: self.uid,
            xdg_state_home: self.path("XDG_STATE_HOME").filter(|dir| dir.is_absolute()),
            env: variables.collect(),
        }
    }

    /// Who is at the keyboard, as far as it can be told: `alice as pipeline` where `sudo` was used.
    pub fn person(&self) -> String {
        match self.text("SUDO_USER").filter(|caller| *caller != self.user) {
            Some(caller) => format!("{caller} as {}", self.user),
            None => self.user.clone(),
        }
    }

    /// A variable as text; none where it is unset, empty or not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(name)?.to_str().filter(|value| !value.is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The configuration file: the one given, else `$PIPELINE_CONFIG`, else the first of the usual places that exists.
    /// One that was asked for by name is not looked for elsewhere, and whoever reads it will say if it is missing.
    pub fn find_config(&self, given: Option<&Path>) -> Result<PathBuf, Failure> {
        if let Some(file) = given.map(Path::to_owned).or_else(|| self.path("PIPELINE_CONFIG")) {
            return Ok(file);
        }
        let places = self.config_places();
        places.iter().find(|place| place.exists()).cloned().ok_or_else(|| {
            let looked: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
            Failure {
                exit: Exit::Config,
                what: format!("no configuration file found: looked for {}", looked.join(" and ")),
                hint: Some("write one with the keys hosts, source and storage, or name it with --config FILE".into()),
            }
        })
    }

    fn config_places(&self) -> Vec<PathBuf> {
        vec![self.user_config(), SYSTEM_CONFIG.into()]
    }

    /// Where the user's own configuration file lies, or would lie.
    pub fn user_config(&self) -> PathBuf {
        let user = self.path("XDG_CONFIG_HOME").filter(|dir| dir.is_absolute());
        user.unwrap_or_else(|| self.home.join(".config")).join("pipeline/pipeline.yaml")
    }

    /// Whether to write colours to a stream: <https://no-color.org> first, then <https://bixense.com/clicolors>.
    pub fn colors(&self, when: ColorWhen, is_terminal: bool) -> bool {
        match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto if self.variables.get("NO_COLOR").is_some_and(|value| !value.is_empty()) => false,
            ColorWhen::Auto if self.text("CLICOLOR_FORCE").is_some_and(|force| force != "0") => true,
            ColorWhen::Auto => is_terminal && !self.dumb() && self.text("CLICOLOR") != Some("0"),
        }
    }

    /// Whether the terminal can't move its cursor.
    pub fn dumb(&self) -> bool {
        matches!(self.text("TERM"), None | Some("dumb"))
    }
}

/// Where the agents for the devices may lie, first match wins: where the configuration says, beside the program, and where
/// packages put them.
pub fn agent_dirs(configured: Option<&Path>) -> Vec<PathBuf> {
    let program = std::env::current_exe().and_then(|program| program.canonicalize());
    agent_dirs_of(configured, program.ok().as_deref())
}

fn agent_dirs_of(configured: Option<&Path>, program: Option<&Path>) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = configured.map(Path::to_owned).into_iter().collect();
    if let Some(dir) = program.and_then(Path::parent) {
        dirs.push(dir.to_owned());
        dirs.push(dir.join("agents"));
        dirs.extend(dir.parent().map(|prefix| prefix.join("lib/pipeline/agents")));
    }
    let packaged = PathBuf::from("/usr/lib/pipeline/agents");
    if !dirs.contains(&packaged) {
        dirs.push(packaged);
    }
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        Environment { variables, home: "/home/bee".into(), user: "bee".into(), uid: 1000 }
    }

    #[test]
    fn the_config_is_the_one_asked_for() {
        let environment = environment(&[("PIPELINE_CONFIG", "/from/variable"), ("XDG_CONFIG_HOME", "/xdg")]);
        assert_eq!(environment.find_config(Some(Path::new("given"))).unwrap(), Path::new("given"));
        assert_eq!(environment.find_config(None).unwrap(), Path::new("/from/variable"));
    }

    #[test]
    fn the_config_is_looked_for_in_the_usual_places() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("pipeline/pipeline.yaml");
        let environment = environment(&[("XDG_CONFIG_HOME", dir.path().to_str().unwrap())]);
        assert_eq!(environment.config_places(), [place.clone(), SYSTEM_CONFIG.into()]);
        std::fs::create_dir(dir.path().join("pipeline")).unwrap();
        std::fs::write(&place, "").unwrap();
        assert_eq!(environment.find_config(None).unwrap(), place);
    }

    #[test]
    fn a_relative_xdg_directory_is_ignored() {
        let places = environment(&[("XDG_CONFIG_HOME", "rel")]).config_places();
        assert_eq!(places, [Path::new("/home/bee/.config/pipeline/pipeline.yaml"), Path::new(SYSTEM_CONFIG)]);
    }

    #[test]
    fn colors() {
        use ColorWhen::{Always, Auto, Never};
        let xterm = ("TERM", "xterm");
        type Row<'a> = (&'a [(&'a str, &'a str)], ColorWhen, bool, bool);
        let table: [Row<'_>; 12] = [
            (&[xterm], Auto, true, true),
            (&[xterm], Auto, false, false),
            (&[xterm], Never, true, false),
            (&[("TERM", "dumb")], Auto, true, false),
            (&[], Auto, true, false),
            (&[xterm, ("NO_COLOR", "1")], Auto, true, false),
            (&[xterm, ("NO_COLOR", "")], Auto, true, true),
            (&[xterm, ("NO_COLOR", "1")], Always, true, true),
            (&[xterm, ("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], Auto, true, false),
            (&[("CLICOLOR_FORCE", "1")], Auto, false, true),
            (&[("CLICOLOR_FORCE", "0")], Auto, false, false),
            (&[xterm, ("CLICOLOR", "0")], Auto, true, false),
        ];
        for (variables, when, is_terminal, expected) in table {
            assert_eq!(
                environment(variables).colors(when, is_terminal),
                expected,
                "{variables:?} {when:?} {is_terminal}"
            );
        }
    }

    #[test]
    fn the_core_is_told_where_it_runs() {
        let surroundings = environment(&[("XDG_STATE_HOME", "rel"), ("EMPTY", "")]).surroundings();
        assert_eq!((surroundings.home.as_path(), surroundings.user.as_str()), (Path::new("/home/bee"), "bee"));
        assert_eq!(surroundings.xdg_state_home, None);
        assert_eq!(surroundings.env["EMPTY"], "");
    }

    #[test]
    fn whoever_used_sudo_is_named() {
        assert_eq!(environment(&[]).person(), "bee");
        assert_eq!(environment(&[("SUDO_USER", "alice")]).person(), "alice as bee");
        assert_eq!(environment(&[("SUDO_USER", "bee")]).person(), "bee");
    }

    #[test]
    fn agents_lie_where_one_says_or_beside_the_program_or_where_packages_put_them() {
        let dirs = agent_dirs_of(None, Some(Path::new("/opt/pipeline/bin/pipeline")));
        let expected = [
            "/opt/pipeline/bin",
            "/opt/pipeline/bin/agents",
            "/opt/pipeline/lib/pipeline/agents",
            "/usr/lib/pipeline/agents",
        ];
        assert_eq!(dirs, expected.map(PathBuf::from));
        assert_eq!(agent_dirs_of(None, Some(Path::new("/usr/bin/pipeline"))).len(), 3);
        let configured = agent_dirs_of(Some(Path::new("/srv/agents")), None);
        assert_eq!(configured, ["/srv/agents", "/usr/lib/pipeline/agents"].map(PathBuf::from));
    }
}
