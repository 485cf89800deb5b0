//! `pipeline export`: what was received, for others.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use pipeline_core::cancel::Cancel;
use pipeline_core::catalog::history::{FileRow, History, Order};
use pipeline_core::config::Config;
use pipeline_core::error::Classified;
use pipeline_core::export::{self, BagInfo, ExportError, NewFile};
use pipeline_core::path::write_escaped;
use pipeline_core::period::Period;
use program::exit::Exit;
use program::failure::Failure;
use program::words::{bytes, count, printable};

use super::history::utc;
use super::selection::filter;
use super::{Context, write_error};
use crate::cli::{BagArgs, ExportCommand, ListArgs};

pub fn run(context: &Context, command: &ExportCommand) -> Result<Exit, Failure> {
    let (_, config) = context.config()?;
    match command {
        ExportCommand::Manifest(args) => manifest(context, &config, args),
        ExportCommand::Bag(args) => bag(context, &config, args),
        ExportCommand::Csv(args) => csv(context, &config, args),
        ExportCommand::Effort(args) => effort(context, &config, args),
    }
}

fn history(config: &Config) -> Result<History, Failure> {
    History::open(&config.state_dir).map_err(|error| Failure::of(&error))
}

fn manifest(context: &Context, config: &Config, args: &ListArgs) -> Result<Exit, Failure> {
    let filter = filter(&history(config)?, &args.selected, &[])?;
    let mut out = Out::open(args.output.as_deref(), config)?;
    let listed = export::write_manifest(config, &filter, &mut out).map_err(|error| failed(&error))?;
    let Some(listed) = out.ended(listed)? else { return Ok(Exit::Done) };
    let mut words = vec![format!("listed {} ({})", count(listed.files, "file"), bytes(listed.bytes))];
    if listed.grown > 0 {
        let has = if listed.grown == 1 { "has" } else { "have" };
        words.push(format!("left out {} that {has} grown since that time", count(listed.grown, "file")));
    }
    if listed.dropped > 0 {
        words.push(format!("left out {}", dropped(listed.dropped, &filter.period)));
    }
    out.close(context, &words.join("; "))
}

fn bag(context: &Context, config: &Config, args: &BagArgs) -> Result<Exit, Failure> {
    let info = BagInfo::parse(&args.info).map_err(|error| failed(&error))?;
    let filter = filter(&history(config)?, &args.selected, &[])?;
    let observer = context.ui.listener(false, false);
    let cancel = Cancel::new();
    let signal = context.listen(&cancel, &observer)?;
    let made = export::write_bag(config, &filter, &info, &args.output, &*observer, &cancel);
    let bag = made.map_err(|error| match error {
        ExportError::Stopped => Failure { exit: signal.exit().unwrap_or(Exit::Interrupted), ..Failure::of(&error) },
        error => failed(&error),
    })?;
    let devices = count(bag.devices as u64, "device");
    let made = format!("{}: {} ({}) of {devices}", bag.path.display(), count(bag.files, "file"), bytes(bag.bytes));
    context.ui.say(&printable(&made));
    if bag.dropped > 0 {
        context.ui.say(&format!("not in it: {}", dropped(bag.dropped, &filter.period)));
    }
    Ok(Exit::Done)
}

fn dropped(contents: u64, period: &Period) -> String {
    let of_then = if period.is_unbounded() { "" } else { " of that time" };
    let is = if contents == 1 { "is" } else { "are" };
    format!("{}{of_then} that {is} kept no longer", count(contents, "content"))
}

fn csv(context: &Context, config: &Config, args: &ListArgs) -> Result<Exit, Failure> {
    let history = history(config)?;
    let filter = filter(&history, &args.selected, &[])?;
    let mut out = Out::open(args.output.as_deref(), config)?;
    let written = {
        let mut table = ::csv::Writer::from_writer(&mut out);
        let mut rows = 0;
        let mut result = table.write_record(COLUMNS);
        if result.is_ok() {
            let listed = history.files(&filter, Order::OldestFirst, &mut |file| {
                rows += 1;
                result = table.write_record(record(&history, &file));
                if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            listed.map_err(|error| Failure::of(&error))?;
        }
        result.map_err(write_error).and_then(|()| table.flush()).map(|()| rows)
    };
    let Some(rows) = out.ended(written)? else { return Ok(Exit::Done) };
    out.close(context, &count(rows, "row"))
}

const COLUMNS: [&str; 17] = [
    "receipt",
    "device",
    "source",
    "path",
    "bytes",
    "sha256",
    "archive_path",
    "kept",
    "modified",
    "received",
    "removed",
    "run",
    "mtime_ns",
    "ctime_ns",
    "clock_offset_ns",
    "dev",
    "ino",
];

fn record(history: &History, file: &FileRow) -> [String; 17] {
    let source = history.source(file.source).map(|source| readable(&source.path)).unwrap_or_default();
    let identity = &file.identity;
    [
        file.row.to_string(),
        file.device.to_string(),
        source,
        file.path.to_string(),
        identity.size.to_string(),
        file.digest.to_string(),
        file.archive_path.to_string(),
        file.kept.word().to_owned(),
        utc(file.modified_ns()),
        utc(file.received_ns),
        file.removed_ns.map(utc).unwrap_or_default(),
        file.run.to_string(),
        identity.mtime_ns.to_string(),
        identity.ctime_ns.to_string(),
        file.clock_offset_ns.to_string(),
        identity.dev.to_string(),
        identity.ino.to_string(),
    ]
}

fn effort(context: &Context, config: &Config, args: &ListArgs) -> Result<Exit, Failure> {
    let history = history(config)?;
    let filter = filter(&history, &args.selected, &[])?;
    let efforts = export::recording(&history, &filter).map_err(|error| failed(&error))?;
    let mut out = Out::open(args.output.as_deref(), config)?;
    let written = {
        let mut table = ::csv::Writer::from_writer(&mut out);
        let mut write = || {
            table.write_record(["deviceID", "start", "end", "reason"])?;
            for (device, effort) in &efforts {
                let (start, end) = (utc(effort.start_ns), utc(effort.end_ns));
                table.write_record([device.as_str(), &start, &end, &effort.reason])?;
            }
            table.flush().map_err(::csv::Error::from)
        };
        write().map_err(write_error)
    };
    let Some(()) = out.ended(written)? else { return Ok(Exit::Done) };
    out.close(context, &count(efforts.len() as u64, "row"))
}

fn readable(path: &[u8]) -> String {
    let mut text = String::new();
    // A String takes everything.
    write_escaped(&mut text, path).unwrap_or_default();
    text
}

/// What was typed is wrong, or something is not there: never the configuration.
pub fn failed(error: &ExportError) -> Failure {
    let typed = matches!(
        error,
        ExportError::Nothing { .. }
            | ExportError::Exists(_)
            | ExportError::InStorage(_)
            | ExportError::InStateDir(_)
            | ExportError::NoPage(_)
            | ExportError::Info { .. }
    );
    let failure = Failure::of(error as &(dyn Classified + 'static));
    if typed { Failure { exit: Exit::Usage, ..failure } } else { failure }
}

/// Where a list goes.
enum Out {
    Standard(io::BufWriter<io::Stdout>),
    File(NewFile),
}

impl Out {
    fn open(output: Option<&Path>, config: &Config) -> Result<Out, Failure> {
        match output {
            None => Ok(Out::Standard(io::BufWriter::new(io::stdout()))),
            Some(path) => NewFile::create(path, config.into()).map(Out::File).map_err(|error| failed(&error)),
        }
    }

    /// What writing has come to; none where the reader has seen enough.
    fn ended<T>(&self, written: io::Result<T>) -> Result<Option<T>, Failure> {
        match (written, self) {
            (Ok(written), _) => Ok(Some(written)),
            (Err(error), Out::Standard(_)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
            (Err(error), Out::Standard(_)) => Err(Failure::of_output(&error)),
            (Err(error), Out::File(file)) => Err(failed(&file.failed(error))),
        }
    }

    /// Ends a list that is whole, and says so where it is a file.
    fn close(self, context: &Context, words: &str) -> Result<Exit, Failure> {
        match self {
            Out::Standard(mut out) => {
                let flushed = out.flush();
                Out::Standard(out).ended(flushed)?;
            }
            Out::File(file) => {
                let path = file.finish().map_err(|error| failed(&error))?;
                context.ui.say(&printable(&format!("{}: {words}", path.display())));
            }
        }
        Ok(Exit::Done)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::Standard(out) => out.write(bytes),
            Out::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::Standard(out) => out.flush(),
            Out::File(file) => file.flush(),
        }
    }
}
