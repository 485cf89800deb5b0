//! `tunnel`, `grant`, `grants` and `revoke` on real sshds with accounts of their own; OpenSSH's own programs say whether it worked.

#![allow(clippy::unwrap_used)]

mod granting;
mod installed;
mod killed;
mod scene;
#[path = "../support/mod.rs"]
mod support;
mod tunnelling;
