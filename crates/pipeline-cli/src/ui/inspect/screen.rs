//! A page that takes the place of the one before, on a terminal.

use console::measure_text_width;

const HOME: &str = "\x1b[H";
const TO_END_OF_LINE: &str = "\x1b[K";
const TO_END_OF_SCREEN: &str = "\x1b[J";

/// Everything, from top to bottom, without a line break at the end, for which there is room. What has no room is counted in the
/// last line. The screen is not emptied first, and so it does not flicker.
pub fn frame(lines: &[String], rows: usize, columns: usize) -> String {
    let height = |line: &String| measure_text_width(line).div_ceil(columns.max(1)).max(1);
    // The cursor comes to stand below it all.
    let rows = rows.saturating_sub(1);
    let all: usize = lines.iter().map(height).sum();
    let mut left = if all <= rows { rows } else { rows.saturating_sub(1) };
    let fitting = lines.iter().take_while(|line| {
        let fits = height(line) <= left;
        left = left.saturating_sub(height(line));
        fits
    });
    let mut shown: Vec<String> = fitting.cloned().collect();
    let hidden = lines.len() - shown.len();
    if hidden > 0 {
        shown.push(format!("and {hidden} more lines"));
    }
    let shown: Vec<String> = shown.into_iter().map(|line| line + TO_END_OF_LINE).collect();
    format!("{HOME}{}{TO_END_OF_SCREEN}", shown.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(lines: &[&str], rows: usize, columns: usize) -> Vec<String> {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let frame = frame(&lines, rows, columns);
        let frame = frame.strip_prefix(HOME).unwrap().strip_suffix(TO_END_OF_SCREEN).unwrap();
        frame.split("\n").map(|line| line.strip_suffix(TO_END_OF_LINE).unwrap().to_owned()).collect()
    }

    #[test]
    fn what_has_no_room_is_counted() {
        assert_eq!(shown(&["a", "b", ""], 4, 80), ["a", "b", ""]);
        assert_eq!(shown(&["a", "b", "c", "d"], 4, 80), ["a", "b", "and 2 more lines"]);
        assert_eq!(shown(&["a", "twelve chars", "c"], 5, 6), ["a", "twelve chars", "c"]);
        assert_eq!(shown(&["a", "twelve chars", "c"], 4, 6), ["a", "and 2 more lines"]);
        assert_eq!(shown(&["\x1b[31mred\x1b[0m"], 2, 3), ["\x1b[31mred\x1b[0m"], "colours take no room");
    }
}
