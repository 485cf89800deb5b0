//! The page of the configuration file, pipeline.yaml(5), made of the example: the file that everybody starts from says what each
//! key is for, and a test holds it to the keys and defaults that are read.
//!
//! The form of the example, which this relies on: `# --- Title ---` begins a section; comment lines are about the key below them; a
//! key without a value begins a group, whose keys are indented; an empty line ends what belongs together.

use roff::{Inline, Roff, bold, italic, roman};

/// The page, from the text of the example.
pub fn page(example: &str, version: &str) -> String {
    let mut roff = Roff::new();
    roff.control("TH", ["pipeline.yaml", "5", "", &format!("pipeline {version}"), "File Formats"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("pipeline.yaml - configuration of pipeline and keytool")]);
    roff.control("SH", ["DESCRIPTION"]);
    let mut group: Option<String> = None;
    let mut comment = Vec::new();
    for line in example.lines() {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        if let Some(title) = text.strip_prefix("# --- ").and_then(|rest| rest.strip_suffix(" ---")) {
            roff.control("SH", [title.to_uppercase().as_str()]);
        } else if let Some(words) = text.strip_prefix('#') {
            comment.push(words.trim().to_owned());
        } else if let Some((key, value)) = text.split_once(':') {
            // What is deeper than a group's keys belongs to the example of one.
            if depth > 2 {
                example_line(&mut roff, line);
                continue;
            }
            if depth == 0 {
                group = value.trim().is_empty().then(|| key.to_owned());
            }
            let full = match &group {
                Some(group) if depth > 0 => format!("{group}.{key}"),
                _ => key.to_owned(),
            };
            if key.starts_with('"') {
                comment.clear();
                example_line(&mut roff, line);
            } else {
                entry(&mut roff, &full, value.trim(), &std::mem::take(&mut comment));
            }
        } else {
            paragraph(&mut roff, &std::mem::take(&mut comment));
        }
    }
    roff.control("SH", ["FILES"]);
    roff.control("TP", []);
    roff.text([italic("/etc/pipeline/pipeline.yaml")]);
    roff.text([roman("The file of the machine. pipeline-sync.timer uses this one.")]);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("pipeline"), roman("(1), "), bold("keytool"), roman("(1), "), bold("ssh_config"), roman("(5)")]);
    roff.to_roff()
}

fn entry(roff: &mut Roff, key: &str, value: &str, comment: &[String]) {
    roff.control("TP", []);
    let mut head: Vec<Inline> = vec![bold(format!("{key}:"))];
    if !value.is_empty() {
        head.extend([roman(" "), italic(value)]);
    }
    roff.text(head);
    // A key that explains itself still needs a body, or the next one would be taken for it.
    roff.text([roman(if comment.is_empty() { "See above.".to_owned() } else { comment.join("\n") })]);
}

fn paragraph(roff: &mut Roff, comment: &[String]) {
    if !comment.is_empty() {
        roff.control("PP", []);
        roff.text([roman(comment.join("\n"))]);
    }
}

fn example_line(roff: &mut Roff, line: &str) {
    roff.control("br", []);
    roff.text([italic(line.trim_start())]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "\
# About the file. See docs/x.md.

# --- What to collect ---

# Names of devices;
# always in quotes.
hosts: [\"pi[1-9]\"]

delete:
  # Keep it so long.
  after: 0s
  low_water: null

devices:
  \"pi3\": { source: /data }
  \"pi31\":
    delete: { after: 30d }
";

    #[test]
    fn the_example_becomes_a_page() {
        let page = page(EXAMPLE, "1.2.3");
        let lines: Vec<&str> = page.lines().collect();
        let begins = lines.iter().position(|line| line.starts_with(".SH \"WHAT TO COLLECT\"")).unwrap();
        assert!(lines[..begins].contains(&"About the file. See docs/x.md."), "{page}");
        let expected = "\
.TP
\\fBhosts:\\fR \\fI[\"pi[1\\-9]\"]\\fR
Names of devices;
always in quotes.
.TP
\\fBdelete:\\fR
See above.
.TP
\\fBdelete.after:\\fR \\fI0s\\fR
Keep it so long.
.TP
\\fBdelete.low_water:\\fR \\fInull\\fR
See above.
.TP
\\fBdevices:\\fR
See above.
.br
\\fI\"pi3\": { source: /data }\\fR
.br
\\fI\"pi31\":\\fR
.br
\\fIdelete: { after: 30d }\\fR
";
        assert!(page.contains(expected), "{page}");
    }
}
