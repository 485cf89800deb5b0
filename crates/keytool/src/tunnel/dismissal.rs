//! A Pi's tunnel key is let in no longer, as after a theft.
//!
//! Guarantees: a line goes where it has the Pi's key, the Pi's name as we write it, or the Pi's port and no other; one that serves
//! somebody else as well stays, and is told. The key that the collector itself logs in with never goes. Leaves to others: the
//! connection that is up, which goes on until it ends.

use crate::authorized_keys::{self, AuthorizedKeys, AuthorizedKeysError, Entry, Key};
use crate::shell::Shell;

use super::jump::{belongs_to, device_of, ports};

/// What a Pi's tunnel is known by.
#[derive(Clone, Debug)]
pub struct Holder<'a> {
    /// The Pi's name.
    pub device: &'a str,
    /// Its port on the jump host.
    pub port: u16,
    /// Its tunnel key, as far as it is known here.
    pub key: Option<Key>,
    /// What the collector logs in to the jump host with.
    pub own: Vec<Key>,
}

/// What becomes of the lines of the jump host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dismissal {
    /// Lines that let the Pi in, and go.
    pub gone: Vec<Entry>,
    /// Lines that let it in, or may, and serve somebody else as well.
    pub left: Vec<Entry>,
}

/// Lets the Pi's tunnel in no more.
pub fn dismiss(shell: &dyn Shell, holder: &Holder<'_>) -> Result<Dismissal, AuthorizedKeysError> {
    let found = dismissed(&authorized_keys::read(shell)?, holder);
    authorized_keys::edit(shell, |keys| keys.without(|entry| holder.claim(entry) == Claim::Goes))?;
    Ok(found)
}

/// What it comes to with the keys that are let in there.
pub fn dismissed(keys: &AuthorizedKeys, holder: &Holder<'_>) -> Dismissal {
    let with = |claim| keys.entries().into_iter().filter(|entry| holder.claim(entry) == claim).collect();
    Dismissal { gone: with(Claim::Goes), left: with(Claim::Stays) }
}

/// What a line has to do with a Pi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It is the Pi's.
    Goes,
    /// It is the Pi's and somebody else's.
    Stays,
    /// Nothing.
    Other,
}

impl Holder<'_> {
    fn claim(&self, entry: &Entry) -> Claim {
        let ports = ports(entry);
        let has_key = self.key.as_ref() == Some(&entry.key);
        if !has_key && !belongs_to(entry, self.device) && !ports.contains(&self.port) {
            return Claim::Other;
        }
        let is_anothers = device_of(entry).is_some_and(|device| device != self.device);
        let holds_others = !has_key && ports.iter().any(|port| *port != self.port) && device_of(entry).is_none();
        match self.own.contains(&entry.key) || is_anothers || holds_others {
            true => Claim::Stays,
            false => Claim::Goes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PI: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHrdV4yNWBkQ7zJdC0qyv4kn6Eqzqpz9giqA8VEUqjRF";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS";
    const OWN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYd1r1NgIK6sUBKvnIGlo8y7eWRyOtw5dQuIj6LIZdR";

    #[test]
    fn what_lets_a_pi_in_goes_and_what_serves_others_is_told() {
        let key = |text: &str| Key::parse(text).unwrap().0;
        let holder = Holder { device: "raspberry31", port: 5031, key: Some(key(PI)), own: vec![key(OWN)] };
        let unknown = Holder { key: None, ..holder.clone() };
        let (goes, stays, other) = (Claim::Goes, Claim::Stays, Claim::Other);
        for (line, by_key, without) in [
            (format!("{OTHER} tunnel of raspberry31"), goes, goes),
            (format!("restrict {PI} bee31"), goes, other),
            (PI.to_owned(), goes, other),
            (format!("permitlisten=\"localhost:5031\" {OTHER} hive"), goes, goes),
            (format!("permitlisten=\"5031\",permitlisten=\"[::1]:5031\" {OTHER}"), goes, goes),
            (format!("permitlisten=\"5031\",PermitListen=\"5032\" {OTHER}"), stays, stays),
            // What the Pi has is no secret any more.
            (format!("permitlisten=\"5031\",permitlisten=\"5032\" {PI}"), goes, stays),
            (format!("permitlisten=\"localhost:5031\" {OTHER} tunnel of raspberry32"), stays, stays),
            (format!("permitlisten=\"localhost:5032\" {PI} tunnel of raspberry32"), stays, other),
            (format!("permitlisten=\"localhost:6031\" {OTHER} tunnel of raspberry31"), goes, goes),
            (format!("{OWN} tunnel of raspberry31"), stays, stays),
            (OTHER.to_owned(), other, other),
            (format!("permitlisten=\"localhost:50311\" {OTHER} tunnel of raspberry311"), other, other),
        ] {
            let keys = AuthorizedKeys::new(line.clone().into_bytes());
            let entry = keys.entries().remove(0);
            assert_eq!((holder.claim(&entry), unknown.claim(&entry)), (by_key, without), "{line}");
        }
    }
}
