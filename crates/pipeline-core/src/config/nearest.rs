//! What somebody may have meant: known words that are nearly the one that was typed.

/// The nearest words, best first, at most three; none that differs in more than a third of its letters.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
    let word = word.to_lowercase();
    let bound = (word.chars().count() / 3).max(1);
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .map(|known| (strsim::osa_distance(&word, &known.to_lowercase()), known))
        .filter(|(distance, _)| *distance <= bound)
        .collect();
    found.sort_by_key(|(distance, _)| *distance);
    found.into_iter().take(3).map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        let known = ["hosts", "source", "storage", "settle"];
        let table: [(&str, &[&str]); 6] = [
            ("host", &["hosts"]),
            ("Hosts", &["hosts"]),
            ("sotrage", &["storage"]),
            ("stettle", &["settle"]),
            ("colour", &[]),
            ("", &[]),
        ];
        for (word, expected) in table {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest("pi11", ["pi1", "pi12", "pi13", "pi14"]), ["pi1", "pi12", "pi13"]);
    }
}
