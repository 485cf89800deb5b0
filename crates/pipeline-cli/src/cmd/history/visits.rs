//! `pipeline history visits`: since when a device is as it is, and how it was before.

use pipeline_core::catalog::history::Spell;
use program::failure::Failure;
use program::words::count;

use super::{List, Rows, most, nothing, rows};
use crate::cli::VisitsArgs;
use crate::cmd::selection;
use crate::ui::grid::Column;

const COLUMNS: [Column; 6] = [
    Column::left("device"),
    Column::left("began"),
    Column::left("last"),
    Column::right("visits"),
    Column::left("state"),
    Column::left("why"),
];

pub fn list(list: &List<'_>, args: &VisitsArgs) -> Result<(), Failure> {
    let filter = selection::filter(&list.history, &args.selected, &[])?;
    let mut spells = list.history.spells(&filter).map_err(|error| Failure::of(&error))?;
    spells.sort_by_key(|spell| spell.began_ns);
    let all = spells.len();
    let out = Rows::of(args.form);
    let most = if out.is_some() && args.last.last.is_none() { all } else { most(args.last.last) };
    let shown = &spells[all.saturating_sub(most)..];
    if let Some(mut out) = out {
        let written = shown.iter().try_for_each(|spell| out.write(&rows::Visits::from(spell)));
        return out.end(written);
    }
    let remark = match (all, all - shown.len()) {
        (0, _) => Some(nothing("there was no visit", &filter.period)),
        (_, 0) => None,
        (_, older) => Some(format!("{older} older not shown: ask for more with --last, or for a HOST")),
    };
    let table: Vec<_> = shown.iter().map(|spell| cells(list, spell)).collect();
    list.table(&COLUMNS, &table, remark.as_deref());
    Ok(())
}

fn cells(list: &List<'_>, spell: &Spell) -> Vec<String> {
    let others = (spell.others > 0).then(|| format!("{} ended otherwise", count(spell.others, "visit")));
    let why: Vec<String> = spell.reason.clone().into_iter().chain(others).collect();
    vec![
        spell.device.to_string(),
        list.local(spell.began_ns),
        list.local(spell.last_ns),
        spell.visits.to_string(),
        spell.state.word().to_owned(),
        if why.is_empty() { "-".to_owned() } else { why.join("; ") },
    ]
}
