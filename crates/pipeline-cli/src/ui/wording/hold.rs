//! A hold on removals, in words.

use pipeline_core::hold::Hold;

/// The line of a hold that stands.
pub fn hold_line(hold: &Hold) -> String {
    format!("removals are on hold {}; 'pipeline release' ends it", held_words(hold))
}

/// The line of a hold whose time is over.
pub fn hold_ended_line(hold: &Hold) -> String {
    format!("removals go on: the hold {} is over; 'pipeline release' forgets it", held_words(hold))
}

/// Since when, until when, by whom and why.
pub fn held_words(hold: &Hold) -> String {
    let part = |word: &str, text: &Option<String>| text.as_ref().map(|text| format!("{word} {text}"));
    let parts = [part("since", &hold.since), part("until", &hold.until), part("by", &hold.by)];
    let words = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let reason = hold.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let remark = hold.remark.as_ref().map(|remark| format!("({remark})"));
    [Some(format!("{words}{reason}")).filter(|words| !words.is_empty()), remark]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}
