//! How a person lets us into a machine, and says that it is the right one.

use std::cell::OnceCell;
use std::path::PathBuf;

use clap::Args;
use pipeline_core::ssh::Credentials;
use program::exit::Exit;
use program::failure::Failure;
use program::words::printable;

use crate::key;
use crate::onboard::batch::{Person, Question, Stranger};
use crate::onboard::visit::Entrance;
use crate::ui::Ui;

/// How to get into machines that do not let our own key in.
#[derive(Debug, Args)]
pub struct EntranceArgs {
    /// Read the password of the login from the first line of standard input, instead of asking for it
    #[arg(long, conflicts_with = "identity")]
    pub password_stdin: bool,
    /// Log in with this private key, which is let in there already, instead of a password
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
}

/// Asks on the terminal.
pub struct Asker<'a> {
    /// Where.
    ui: &'a Ui,
    /// What was given in place of being asked.
    given: &'a EntranceArgs,
    /// The password that was given: it can be read once, and may be for several logins.
    password: OnceCell<Credentials>,
    /// Whether a machine whose fingerprint was given needs no yes.
    yes: bool,
    /// The option that says yes where nobody can be asked.
    instead: &'static str,
}

impl<'a> Asker<'a> {
    /// `yes`: a machine whose fingerprint was given needs no yes. `instead` is the option that says yes where nobody can be asked.
    pub fn new(ui: &'a Ui, given: &'a EntranceArgs, yes: bool, instead: &'static str) -> Asker<'a> {
        Asker { ui, given, password: OnceCell::new(), yes, instead }
    }
}

impl Person for Asker<'_> {
    fn entrance(&self, user: &str, hosts: &[&str]) -> Result<Entrance, Failure> {
        if let Some(identity) = &self.given.identity {
            return match identity.exists() {
                true => Ok(Entrance::Key(identity.clone())),
                false => Err(Failure {
                    exit: Exit::Config,
                    what: format!("the key {} is not there", identity.display()),
                    hint: Some("--identity takes the private half of a key that is let in there".into()),
                }),
            };
        }
        if let Some(password) = self.password.get() {
            return Ok(Entrance::Password(password.clone()));
        }
        let password = match self.given.password_stdin {
            true => {
                let password = Credentials::Password(self.ui.secret_from_stdin()?);
                self.password.get_or_init(|| password).clone()
            }
            false => {
                let question = format!("Password of {user} on {}", some_of(hosts));
                let instead = "--password-stdin, or --identity with a key that is let in there";
                Credentials::Password(self.ui.secret(&question, instead)?)
            }
        };
        Ok(Entrance::Password(password))
    }

    fn warn(&self, hosts: &[Stranger<'_>]) {
        // A key that logs in tells nobody anything.
        if self.given.identity.is_some() {
            return;
        }
        let say = |line: &str| self.ui.streams.err.output.line(&printable(line));
        say("not pinned yet; whoever shows these host keys gets the password (Ctrl-C: nobody does):");
        for Stranger { host, key, doubts } in hosts {
            say(&format!("  {host}  {key}"));
            doubts.iter().for_each(|doubt| say(&format!("  {host}  but {doubt}")));
        }
    }

    fn can_confirm(&self, host: &str) -> Result<(), Failure> {
        self.ui.somebody(&is_this(host), self.instead)
    }

    fn confirms(&self, question: &Question<'_>) -> Result<bool, Failure> {
        // Whoever wrote the fingerprint down has answered already; a person who sits here may still look at the box.
        if question.listed && (self.yes || !self.ui.asks()) {
            return Ok(true);
        }
        self.show(question);
        self.ui.confirm(&is_this(question.host), self.instead)
    }
}

impl Asker<'_> {
    /// On standard error, where the question is: even with `-q`.
    fn show(&self, question: &Question<'_>) {
        let say = |line: &str| self.ui.streams.err.output.line(&printable(line));
        say(&format!("{} shows", question.host));
        for key in question.keys {
            say(&format!("  host key   {key}"));
            if self.ui.asks()
                && let Ok(public) = key.openssh().parse()
            {
                key::randomart(&public).lines().for_each(|line| say(&format!("             {line}")));
            }
        }
        question.doubts.iter().for_each(|doubt| say(&format!("  but        {doubt}")));
        let Some(facts) = question.facts else { return };
        for (heading, text) in [("hostname", &facts.hostname), ("model", &facts.model), ("serial", &facts.serial)] {
            if !text.is_empty() {
                say(&format!("  {heading:9}  {text}"));
            }
        }
        for interface in &facts.interfaces {
            say(&format!("  {:9}  {}", interface.name, interface.mac));
        }
    }
}

fn is_this(host: &str) -> String {
    format!("Is this {host}?")
}

/// The first names, and how many more.
fn some_of(hosts: &[&str]) -> String {
    const SHOWN: usize = 5;
    let names = hosts.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match hosts.len().saturating_sub(SHOWN) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_names_is_cut() {
        assert_eq!(some_of(&["a", "b"]), "a, b");
        assert_eq!(some_of(&["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
    }
}
