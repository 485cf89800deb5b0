//! A manifest for `sha256sum -c`, from the root of the storage: what some devices brought in some time, as it lies there now.

use std::io::{self, Write};

use super::{ExportError, PAGE, contents};
use crate::archive::write_line;
use crate::catalog::Catalog;
use crate::catalog::history::Filter;
use crate::config::Config;

/// What a manifest lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Received in that time and not listed, since they have grown after it: only the beginning of what lies there is theirs.
    pub grown: u64,
    /// Received in that time, and kept no longer.
    pub dropped: u64,
}

/// Writes the lines. The outer error is ours, the inner one that of `out`.
pub fn write_manifest(
    config: &Config,
    filter: &Filter,
    out: &mut dyn Write,
) -> Result<io::Result<Listed>, ExportError> {
    let (_, contents) = contents(&Catalog::open(&config.state_dir)?, filter)?;
    let mut listed = Listed { dropped: contents.sums()?.dropped, ..Listed::default() };
    let mut last = 0;
    loop {
        let page = contents.after(last, PAGE)?;
        let Some(end) = page.last() else { break };
        last = end.row;
        for content in &page {
            if !content.whole {
                listed.grown += 1;
                continue;
            }
            let mut line = Vec::new();
            if let Err(error) = write_line(&mut line, &content.content.digest, content.archive_path.as_bytes())
                .and_then(|()| out.write_all(&line))
            {
                return Ok(Err(error));
            }
            listed.files += 1;
            listed.bytes += content.content.bytes;
        }
    }
    Ok(out.flush().map(|()| listed))
}
