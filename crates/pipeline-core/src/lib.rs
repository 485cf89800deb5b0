//! Moves files from a fleet of devices to an archive and never loses one.
//!
//! This page is the map; it holds no logic. One device is visited like this, and [`sync`] is the
//! only module that knows the order:
//!
//! ```text
//! config → fleet → connect → scan → plan → transfer → verify → commit → catalog → receipt → remove → report
//! ```
//!
//! | room | concern |
//! |---|---|
//! | [`path`], [`digest`], [`entry`] | the words: validated paths and names, SHA-256, what a device says of a file |
//! | [`error`], [`event`] | what can go wrong and what decides the consequence; what happened, for whoever listens |
//! | [`rooted`] | files opened below one directory, never through a symlink; used on both sides |
//! | [`wire`] | frames and messages between collector and agent |
//! | [`delta`] | what changed in a file: signature, delta, patch |
//! | [`health`] | how a device is, in its kernel's words; one parser for both ways to ask |
//! | [`agent`] | the half that runs on the device (feature `agent`) |
//! | [`config`], [`ssh_config`], [`fleet`] | YAML to settings; OpenSSH config to routes; patterns to devices |
//! | [`ssh`] | host keys, authentication, the shared jump connection (feature `ssh`) |
//! | [`shell`] | how a script is handed to a machine's shell |
//! | [`remote`] | what the engine may ask of a device |
//! | [`plan`] | decides what to do with each file; pure |
//! | [`transfer`] | a reply stream to staged files |
//! | [`archive`] | marker, layout, staging, commit, manifests |
//! | [`catalog`] | SQLite: what was received, from where, and when it was removed; what each visit found |
//! | [`period`] | times and stretches of time as people type them |
//! | [`hold`] | a person's brake on all removals |
//! | [`receipt`] | the proof without which nothing is removed |
//! | [`sync`], [`run`], [`check`] | one device; many devices; is everything ready |
//! | [`rebuild`] | a lost catalog, made anew from the storage |
//! | [`inspect`], [`forecast`] | the whole fleet at one look, and what needs a person; when a card will be full |
//! | [`verify`] | the storage, read again and compared with the catalog |
//! | [`explain`] | why a file, or a device, is as it is |
//! | [`export`] | what was received, for others: manifests, bags, tables, recording effort |
//! | [`report`] | the fleet and its past, from the catalog alone |
//! | [`metrics`] | how the last run went, as a Prometheus textfile |
//! | [`notify`] | a command of the user's, told how runs end |
//! | [`cancel`], [`clock`], [`descriptors`] | the wish to stop, seen by all threads; our own clock; how many files may be open |
//!
//! Nothing in this crate prints, prompts, reads `$HOME` or the environment, or exits.

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(any(feature = "agent", feature = "collector"))]
pub mod delta;
pub mod descriptors;
pub mod digest;
pub mod entry;
pub mod error;
pub mod health;
pub mod path;
pub mod rooted;
pub mod wire;

#[cfg(feature = "collector")]
pub mod archive;
#[cfg(feature = "collector")]
pub mod cancel;
#[cfg(feature = "collector")]
pub mod catalog;
#[cfg(feature = "collector")]
pub mod check;
#[cfg(feature = "collector")]
pub mod clock;
#[cfg(feature = "collector")]
pub mod config;
#[cfg(feature = "collector")]
pub mod event;
#[cfg(feature = "collector")]
pub mod explain;
#[cfg(feature = "collector")]
pub mod export;
#[cfg(feature = "collector")]
pub mod fleet;
#[cfg(feature = "collector")]
pub mod forecast;
#[cfg(feature = "collector")]
pub mod hold;
#[cfg(feature = "collector")]
pub mod inspect;
#[cfg(feature = "collector")]
pub mod metrics;
#[cfg(feature = "collector")]
pub mod notify;
#[cfg(feature = "collector")]
pub mod period;
#[cfg(feature = "collector")]
pub mod plan;
#[cfg(feature = "collector")]
pub mod rebuild;
#[cfg(feature = "collector")]
pub mod receipt;
#[cfg(feature = "collector")]
pub mod remote;
#[cfg(feature = "collector")]
mod replace;
#[cfg(feature = "collector")]
pub mod report;
#[cfg(feature = "collector")]
pub mod run;
#[cfg(feature = "collector")]
pub mod shell;
#[cfg(feature = "ssh")]
pub mod ssh;
#[cfg(feature = "collector")]
pub mod ssh_config;
#[cfg(feature = "collector")]
pub mod sync;
#[cfg(feature = "collector")]
pub mod transfer;
#[cfg(feature = "collector")]
pub mod verify;
