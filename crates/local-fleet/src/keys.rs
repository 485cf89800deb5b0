//! Keys, made by `ssh-keygen`: ed25519, no passphrase.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Error, Result};

/// Makes `file` and `file.pub`; returns the public half as `type base64`, without comment.
pub(crate) fn generate(file: &Path, comment: &str) -> Result<String> {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"])
        .arg(file)
        .output()
        .map_err(|_| Error::Missing("ssh-keygen".into()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Helper { program: "ssh-keygen".into(), said });
    }
    let public = file.with_extension("pub");
    let line = fs::read_to_string(&public).map_err(Error::file("read", &public))?;
    Ok(line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}
