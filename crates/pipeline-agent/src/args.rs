//! The command line, taken apart by hand: a parser would be half of the program.

use std::ffi::OsString;
use std::path::PathBuf;

use pipeline_core::agent::VERSION;
use pipeline_core::wire::PROTOCOL;

/// What `--help` prints.
pub const HELP: &str = "\
Serves files of this device to pipeline, over standard input and output.
Started by pipeline itself; there is no need to run or install it by hand.

Usage: pipeline-agent serve --root PATH [--root PATH]...
       pipeline-agent --version | --help

  --root PATH  a directory that may be asked for; an absolute path
  --version    print the version, and the protocol it speaks
  --help       print this

Exit status: 0 the requests ended, 1 something failed, 2 it was called wrongly.
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Answer requests about files below these directories.
    Serve(Vec<PathBuf>),
    /// Print [`version`].
    Version,
    /// Print [`HELP`].
    Help,
}

/// A command line that means nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(pub String);

/// One line: name, version and protocol.
pub fn version() -> String {
    format!("pipeline-agent {VERSION} protocol {PROTOCOL}\n")
}

/// Reads the arguments after the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut args = args.into_iter();
    let Some(first) = args.next() else { return Err(UsageError("no command".into())) };
    match first.to_str() {
        Some("--version" | "-V") => Ok(Command::Version),
        Some("--help" | "-h" | "help") => Ok(Command::Help),
        Some("serve") => serve(args),
        _ => Err(UsageError(format!("unknown command '{}'", first.display()))),
    }
}

fn serve(mut args: impl Iterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut roots = Vec::new();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--root") => {
                let path = PathBuf::from(args.next().ok_or_else(|| UsageError("--root needs a path".into()))?);
                if !path.is_absolute() {
                    return Err(UsageError(format!("'{}' is not an absolute path", path.display())));
                }
                roots.push(path);
            }
            Some("--help" | "-h") => return Ok(Command::Help),
            _ => return Err(UsageError(format!("unknown argument '{}'", arg.display()))),
        }
    }
    if roots.is_empty() { Err(UsageError("no --root".into())) } else { Ok(Command::Serve(roots)) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn parsed(args: &[&str]) -> Result<Command, String> {
        parse(args.iter().map(OsString::from)).map_err(|error| error.0)
    }

    #[test]
    fn commands() {
        assert_eq!(parsed(&["--version"]), Ok(Command::Version));
        assert_eq!(parsed(&["--help"]), Ok(Command::Help));
        assert_eq!(parsed(&["serve", "--help"]), Ok(Command::Help));
        let roots = vec!["/a b".into(), "/c".into()];
        assert_eq!(parsed(&["serve", "--root", "/a b", "--root", "/c"]), Ok(Command::Serve(roots)));
    }

    #[test]
    fn a_root_may_be_any_bytes() {
        let root = OsString::from_vec(b"/\xff\n".to_vec());
        let args = ["serve".into(), "--root".into(), root.clone()];
        assert_eq!(parse(args), Ok(Command::Serve(vec![root.into()])));
    }

    #[test]
    fn mistakes() {
        for (args, error) in [
            (&[][..], "no command"),
            (&["frobnicate"], "unknown command 'frobnicate'"),
            (&["serve"], "no --root"),
            (&["serve", "--root"], "--root needs a path"),
            (&["serve", "--root", "a"], "'a' is not an absolute path"),
            (&["serve", "--root", "/a", "/b"], "unknown argument '/b'"),
        ] {
            assert_eq!(parsed(args), Err(error.into()));
        }
    }
}
