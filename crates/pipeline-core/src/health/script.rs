//! The texts, as a shell is told to give them; and what it gave.

use super::{CARD, FILES, MAX_LINES, MAX_TEXT_BYTES, OTHER, Piece, TROUBLE, Texts};

/// The record after the last text.
const END: &str = "end";

/// A script that says each text as two records that end with NUL, its name and itself; then `end`. `$h`, which ends with `/`, is where
/// the files lie: `/` but in tests. What is not there, or may not be read, is left out.
pub(crate) fn script() -> String {
    let mut script = format!(
        "say() {{ k=$1; shift; [ -r \"$1\" ] || return 0; printf '%s\\0' $k\n\
         cat \"$@\" 2> /dev/null | head -c {MAX_TEXT_BYTES} | tr -d '\\000'; printf '\\0'; }}\n"
    );
    for (piece, pattern) in FILES {
        // Unquoted where it is a pattern: none of ours has a blank.
        script.push_str(&format!("say {} \"$h\"{pattern}\n", name(piece)));
    }
    let log = name(Piece::Log);
    script.push_str(&format!(
        "if l=$(dmesg 2> /dev/null); then printf '%s\\0' {log}\n\
         printf '%s\\n' \"$l\" | grep -iE '{}' | grep -iE '{}' | grep -ivE '{}' | tail -n {MAX_LINES} | tail -c {MAX_TEXT_BYTES} | \
         tr -d '\\000'\nprintf '\\0'; fi\nprintf '{END}\\0'\n",
        CARD.join("|"),
        TROUBLE.join("|"),
        OTHER.join("|"),
    ));
    script
}

/// Reads the records, up to the last.
pub(crate) fn read<E>(mut record: impl FnMut() -> Result<Vec<u8>, E>) -> Result<Option<Texts>, E> {
    let mut texts = Texts::default();
    // No more than there are pieces, whatever it says.
    for _ in 0..=FILES.len() + 1 {
        let said = record()?;
        if said == END.as_bytes() {
            return Ok(Some(texts));
        }
        let pieces = FILES.iter().map(|(piece, _)| *piece).chain([Piece::Log]);
        let Some(piece) = pieces.into_iter().find(|piece| name(*piece).as_bytes() == said) else { return Ok(None) };
        texts.0.push((piece, record()?));
    }
    Ok(None)
}

fn name(piece: Piece) -> &'static str {
    match piece {
        Piece::Load => "load",
        Piece::Uptime => "uptime",
        Piece::Memory => "memory",
        Piece::Mounts => "mounts",
        Piece::Temperature => "temperature",
        Piece::Throttled => "throttled",
        Piece::Ext4Errors => "ext4",
        Piece::Log => "log",
    }
}
