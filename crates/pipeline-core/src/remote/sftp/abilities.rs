//! What a device can do for us, asked once: its shell, its clock, its disk; and what it can't, in words for the report.
//!
//! Guarantees that nothing on the device is changed by asking, and that a device that can't be asked something is served all the
//! same.

use super::Channels;
use super::client::Client;
use super::lines::Script;
use super::protocol::{self, Disk, Reply, Request};
use super::removal;
use super::shell::{self, Tools};
use crate::clock::now_ns;
use crate::remote::{Options, RemoteError};

/// What the shell can do, or why it is of no use; the device's clock, and ours when it was heard.
pub(super) type Probed = (Result<Tools, String>, Option<(i64, i64)>);

/// Asks the shell what it can do. Where there is no shell, something else may answer: an SFTP server that is forced on us says
/// nothing until it is greeted. A shell does not mind the greeting.
pub(super) fn probe(channels: &dyn Channels, source: &[u8], options: &Options) -> Result<Probed, RemoteError> {
    let link = match channels.exec(&shell::probe(source)) {
        Err(RemoteError::NoChannel(words)) => return Ok((Err(format!("it runs no command for us: {words}")), None)),
        link => link?,
    };
    let mut script = Script::new(link, options)?;
    let answer =
        script.greet(&protocol::hello()).and_then(|shell| if shell { script.line().map(Some) } else { Ok(None) });
    let heard_ns = now_ns();
    let no_shell = |words: String| Ok((Err(words), None));
    match answer {
        Ok(Some(line)) => match shell::read_probe(&line) {
            Some((Ok(tools), clock_ns)) => Ok((Ok(tools), Some((clock_ns, heard_ns)))),
            Some((Err(missing), clock_ns)) => Ok((Err(format!("it lacks {missing}")), Some((clock_ns, heard_ns)))),
            None => no_shell("its shell answers something else".into()),
        },
        Ok(None) => no_shell("the login may use SFTP only".into()),
        Err(RemoteError::Lost(words)) => no_shell(format!("it runs no command for us: {words}")),
        Err(RemoteError::Broken(_) | RemoteError::Protocol(_)) => no_shell("it runs no command for us".into()),
        Err(error) => Err(error),
    }
}

pub(super) fn disk(client: &mut Client, place: Option<&[u8]>) -> Result<Disk, RemoteError> {
    let unknown = Disk { total_bytes: 0, free_bytes: 0, total_files: 0, free_files: 0 };
    let Some(place) = place.filter(|_| client.knows_statvfs()) else { return Ok(unknown) };
    match client.call(&Request::StatVfs(place))? {
        Reply::Extended(disk) => {
            Disk::read(&disk).map_err(|_| RemoteError::Protocol("it sent a malformed sftp packet"))
        }
        _ => Ok(unknown),
    }
}

pub(super) fn caveats(tools: &Result<Tools, String>, has_clock: bool) -> Vec<String> {
    let mut caveats = Vec::new();
    match tools {
        Ok(_) => caveats.extend(
            [
                "a program of another user, or with more rights than the login, that has a file open for writing is not seen, nor is one \
                 that has it mapped",
                "for some milliseconds between the last look at a file and its removal a program may begin to write to it",
            ]
            .map(String::from),
        ),
        Err(why) => caveats.extend([
            format!("files are known by size and whole seconds of their times alone, and read again before they are removed: {why}"),
            format!(
                "no program that has a file open for writing is seen: what changed within {} minutes stays",
                removal::QUIET.as_secs() / 60
            ),
            "for a round trip between the last look at a file and its removal a program may write to it".into(),
            "what is mounted below the source is taken for a part of it".into(),
        ]),
    }
    if !has_clock {
        caveats.push(
            "its clock can't be asked: files are looked at twice, and leave 10 minutes after they were received".into(),
        );
    }
    caveats
}
