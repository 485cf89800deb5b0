//! Makes the home of a collector with a year of fifty devices in its catalog, for the bench: `past DIRECTORY [DEVICES [DAYS]]`.
//!
//! `pipeline --config DIRECTORY/pipeline.yaml report` is then a report of it.

use std::path::Path;

use e2e::past::{Past, home};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| panic!("past DIRECTORY [DEVICES [DAYS]]"));
    let mut number = |otherwise| arguments.next().map_or(otherwise, |text| text.parse().expect("a number"));
    let past = Past { devices: number(50), days: number(365), readings_per_day: 24, runs_per_day: 1440 };
    home(Path::new(&dir), &past);
}
