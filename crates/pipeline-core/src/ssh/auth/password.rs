//! A password, by whichever of the two methods the server offers.
//!
//! Guarantees that it is sent once, and to no question but the first that hides its answer: what else a server asks (a new
//! password, a one-time code) is not answered with it.

use std::time::{Duration, Instant};

use libssh2_sys as raw;
use ssh2::{KeyboardInteractivePrompt, Prompt};

use super::{Attempt, AuthError};
use crate::ssh::session::error_code;

/// What is said to have been offered.
pub(super) const NAME: &str = "the password";
/// A question is shown to a person: no longer than this.
const MAX_QUESTION_CHARS: usize = 100;

impl Attempt<'_> {
    /// Logs in by password, and returns about the time of a round trip.
    pub(super) fn with_password(&mut self, secret: &str) -> Result<Duration, AuthError> {
        let (session, user) = (&self.transport.session, self.user);
        let began = Instant::now();
        let methods = self.call(NAME, || session.auth_methods(user).map(str::to_owned))?.map_err(AuthError::Failed)?;
        // To ask for the service and to ask for the methods: the check of a password may take long, and says nothing of the way.
        let round_trip = began.elapsed() / 2;
        if session.authenticated() {
            return Ok(round_trip);
        }
        let methods: Vec<&str> = methods.split(',').collect();
        let mut answers = Answers { secret: Some(secret), unanswered: None };
        // One of the two: a server that counts wrong passwords would count both.
        let tried = if methods.contains(&"password") {
            self.call(NAME, || session.userauth_password(user, secret))?
        } else if methods.contains(&"keyboard-interactive") {
            self.call(NAME, || session.userauth_keyboard_interactive(user, &mut answers))?
        } else {
            let methods = methods.into_iter().map(printable).collect();
            return Err(AuthError::NoPasswordMethod { methods });
        };
        let user = user.to_owned();
        match (tried, answers.unanswered) {
            (Ok(()), _) => Ok(round_trip),
            (Err(error), _) if error_code(&error) == raw::LIBSSH2_ERROR_PASSWORD_EXPIRED => {
                Err(AuthError::PasswordExpired { user })
            }
            (Err(error), question) if error_code(&error) == raw::LIBSSH2_ERROR_AUTHENTICATION_FAILED => {
                Err(match question {
                    Some(question) => AuthError::OtherQuestion { user, question },
                    None => AuthError::WrongPassword { user },
                })
            }
            (Err(error), _) => Err(AuthError::Failed(error)),
        }
    }
}

/// What a server's questions are answered with.
struct Answers<'a> {
    /// Until it was given.
    secret: Option<&'a str>,
    /// The first question that is not for a password.
    unanswered: Option<String>,
}

impl KeyboardInteractivePrompt for Answers<'_> {
    fn prompt<'a>(&mut self, _user: &str, _instructions: &str, prompts: &[Prompt<'a>]) -> Vec<String> {
        if let ([Prompt { echo: false, .. }], Some(secret)) = (prompts, self.secret.take()) {
            return vec![secret.to_owned()];
        }
        if let (Some(prompt), None) = (prompts.first(), &self.unanswered) {
            self.unanswered = Some(printable(&prompt.text));
        }
        vec![String::new(); prompts.len()]
    }
}

/// A server's words, fit for a terminal.
fn printable(words: &str) -> String {
    let words = words.trim();
    words.chars().filter(|c| !c.is_control()).take(MAX_QUESTION_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(text: &str, echo: bool) -> Prompt<'_> {
        Prompt { text: text.into(), echo }
    }

    #[test]
    fn only_the_first_hidden_question_gets_the_password() {
        let mut answers = Answers { secret: Some("s3cret"), unanswered: None };
        assert_eq!(answers.prompt("pi", "", &[question("Password: ", false)]), ["s3cret"]);
        assert_eq!(answers.unanswered, None);
        assert_eq!(answers.prompt("pi", "", &[question("New\x1b[2J password: ", false)]), [""]);
        assert_eq!(answers.unanswered.as_deref(), Some("New[2J password:"));
    }

    #[test]
    fn what_would_be_shown_or_is_more_than_one_gets_nothing() {
        let mut shown = Answers { secret: Some("s3cret"), unanswered: None };
        assert_eq!(shown.prompt("pi", "", &[question("Name: ", true)]), [""]);
        let mut two = Answers { secret: Some("s3cret"), unanswered: None };
        assert_eq!(two.prompt("pi", "", &[question("Password: ", false), question("Code: ", false)]), ["", ""]);
        assert_eq!(two.unanswered.as_deref(), Some("Password:"));
    }
}
