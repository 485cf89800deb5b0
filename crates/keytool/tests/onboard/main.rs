//! Machines taken in for real: sshds with password checks by PAM, an OpenSSH `ssh` that judges what was written, and everything
//! that can go wrong on the way.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod killed;
mod life;
mod pinning;
mod relayed;
mod scene;
mod taking_in;
mod told;
