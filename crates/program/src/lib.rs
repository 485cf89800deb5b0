//! What every program of the house shares, so that they find their configuration, speak, fail and end in one way.
//!
//! | room | concern |
//! |---|---|
//! | [`environment`] | the one place that reads the environment; where the configuration lies |
//! | [`exit`] | exit codes |
//! | [`options`] | what can be typed with every command |
//! | [`failure`] | why a program ends without having done its work |
//! | [`streams`], [`output`] | what is said on which stream, and in which form |
//! | [`words`] | numbers, durations and names as people read them |
//! | [`run`], [`bug`] | a command from its beginning to its exit code, panics included |
//! | [`manual`] | manual pages and completions, from what can be typed |
//! | [`signals`] | the wish to stop |
//!
//! Guarantees: standard output carries what was asked for, standard error everything else. Leaves to the programs what can be
//! typed and what is done.

pub mod bug;
pub mod environment;
pub mod exit;
pub mod failure;
pub mod manual;
pub mod options;
pub mod output;
pub mod run;
pub mod signals;
pub mod streams;
pub mod words;
