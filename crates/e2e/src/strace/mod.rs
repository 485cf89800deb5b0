//! Programs under strace: killed before a chosen system call, or with every call written down.
//!
//! Traces of different programs on one computer share its clock. Each call has the time at which it was entered and the time
//! at which it had returned, so "before" can be asserted strictly: one call had returned before the other was entered.

pub mod order;
mod parse;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

pub use parse::parse;

/// Everything that a trace must have for [`order`] to judge it.
const CALLS: &str = "fsync,fdatasync,renameat2,renameat,mkdirat,write,pwrite64,read,openat,openat2,unlinkat";

/// One system call that returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which thread.
    pub thread: u32,
    /// Its name.
    pub name: String,
    /// Its arguments, and what it returned.
    pub args: Vec<Arg>,
    /// Below 0 for an error.
    pub result: i64,
    /// The path of the descriptor that it returned.
    pub returned: Option<Vec<u8>>,
    /// When it was entered, in nanoseconds since 1970.
    pub entered_ns: u64,
    /// When it had returned.
    pub left_ns: u64,
}

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg {
    /// A string or bytes.
    Bytes(Vec<u8>),
    /// A descriptor of something with a path.
    Descriptor(Vec<u8>),
    /// Anything else, as strace shows it.
    Other(String),
}

/// Arguments of strace that write down what [`parse()`] reads.
pub fn tracing_args(trace: &Path) -> Vec<String> {
    let args = "-f -y -xx -s 8192 --seccomp-bpf --absolute-timestamps=format:unix,precision:ns --syscall-times=ns";
    let mut args: Vec<_> = args.split(' ').map(str::to_owned).collect();
    args.extend(["-e".into(), format!("trace={CALLS}"), "-e".into(), "signal=none".into()]);
    args.extend(["-o".into(), trace.display().to_string()]);
    args
}

/// The same program under strace with these arguments. Its environment is what the command sets, and nothing else.
pub fn under_strace<S: AsRef<OsStr>>(command: &Command, args: impl IntoIterator<Item = S>) -> Command {
    let mut strace = Command::new("strace");
    strace.args(args).arg("--").arg(command.get_program()).args(command.get_args()).env_clear();
    strace.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace
}

/// Arguments of strace that kill a program when one of its threads enters this system call for the `count`th time; where a path
/// is given, on that path.
pub fn killing_args(call: &str, path: Option<&Path>, count: u32) -> Vec<String> {
    let mut args: Vec<_> = "-f -qq -o /dev/null -e signal=none -e".split(' ').map(str::to_owned).collect();
    args.extend([format!("trace={call}"), "-e".into(), format!("inject={call}:signal=KILL:when={count}")]);
    if let Some(path) = path {
        args.extend(["-P".into(), path.display().to_string()]);
    }
    args
}
