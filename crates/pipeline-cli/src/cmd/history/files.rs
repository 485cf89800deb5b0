//! `pipeline history files`: what was received from where, and when it left.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;

use pipeline_core::catalog::history::{FileRow, Filter, Kept, Order};
use program::failure::Failure;
use program::words::{bytes, printable};

use super::{List, Rows, most, nothing, rows};
use crate::cli::FilesArgs;
use crate::cmd::selection;
use crate::ui::grid::Column;

const COLUMNS: [Column; 6] = [
    Column::left("received"),
    Column::left("device"),
    Column::right("size"),
    Column::left("removed"),
    Column::left("path"),
    Column::left("stored"),
];

pub fn list(list: &List<'_>, args: &FilesArgs) -> Result<(), Failure> {
    let filter = selection::filter(&list.history, &args.selected, &args.path)?;
    match (Rows::of(args.form), args.last.last) {
        (Some(out), None) => all(list, &filter, out),
        (Some(mut out), Some(last)) => {
            let (files, _) = newest(list, &filter, most(Some(last)))?;
            let written = files.iter().try_for_each(|file| out.write(&rows::File::from(file)));
            out.end(written)
        }
        (None, last) => {
            let (files, older) = newest(list, &filter, most(last))?;
            let remark = match (files.is_empty(), older) {
                (true, _) if args.path.is_empty() => Some(nothing("no file was received", &filter.period)),
                (true, _) => Some(nothing("no such file was received", &filter.period)),
                (false, true) => {
                    Some("older files are not shown: ask for more with --last, or for a time with --since".into())
                }
                (false, false) => None,
            };
            let table: Vec<_> = files.iter().map(|file| cells(list, file)).collect();
            list.table(&COLUMNS, &table, remark.as_deref());
            Ok(())
        }
    }
}

fn all(list: &List<'_>, filter: &Filter, mut out: Rows) -> Result<(), Failure> {
    let mut written: io::Result<()> = Ok(());
    let listed = list.history.files(filter, Order::OldestFirst, &mut |file| {
        written = out.write(&rows::File::from(&file));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    listed.map_err(|error| Failure::of(&error))?;
    out.end(written)
}

/// The newest so many, oldest first, and whether there are older ones.
fn newest(list: &List<'_>, filter: &Filter, most: usize) -> Result<(VecDeque<FileRow>, bool), Failure> {
    let (mut files, mut older) = (VecDeque::new(), false);
    let listed = list.history.files(filter, Order::NewestFirst, &mut |file| {
        if files.len() == most {
            older = true;
            return ControlFlow::Break(());
        }
        files.push_front(file);
        ControlFlow::Continue(())
    });
    listed.map_err(|error| Failure::of(&error))?;
    Ok((files, older))
}

fn cells(list: &List<'_>, file: &FileRow) -> Vec<String> {
    let place = printable(&file.archive_path.to_string()).into_owned();
    vec![
        list.local(file.received_ns),
        file.device.to_string(),
        bytes(file.identity.size),
        list.local_or_none(file.removed_ns),
        printable(&file.path.to_string()).into_owned(),
        match file.kept {
            Kept::Whole => place,
            Kept::Prefix => format!("the beginning of {place}"),
            Kept::Dropped => "no longer".to_owned(),
        },
    ]
}
