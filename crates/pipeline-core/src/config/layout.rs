//! The form of `layout`: where a file goes below the storage.

/// What a layout may be, for people.
pub(super) const ALLOWED: &str = "layout is a path below the storage that holds {path} once, and may hold {host} and {source_name}: \"{host}/{path}\"";

/// Checks that a layout stays below the storage whatever the names are, and out of the storage's own directory.
pub(super) fn check(layout: &str) -> Option<String> {
    if layout.contains('\0') || tokens(layout)?.iter().filter(|&&token| token == "path").count() != 1 {
        return None;
    }
    let sound = |component: &str| !matches!(component, "" | "." | "..") && component != ".pipeline";
    layout.split('/').all(sound).then(|| layout.to_owned())
}

/// The words in braces; none if a brace stands alone or a word is unknown.
fn tokens(layout: &str) -> Option<Vec<&str>> {
    let mut tokens = Vec::new();
    let mut rest = layout;
    while let Some(open) = rest.find(['{', '}']) {
        let (token, after) = rest[open..].strip_prefix('{')?.split_once('}')?;
        if !["host", "path", "source_name"].contains(&token) {
            return None;
        }
        tokens.push(token);
        rest = after;
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let table = [
            ("{host}/{path}", true),
            ("{source_name}/{path}", true),
            ("bees/{host}/raw/{path}", true),
            ("{path}", true),
            ("{host}-{source_name}/{path}", true),
            ("{host}", false),
            ("{path}/{path}", false),
            ("", false),
            ("{hosts}/{path}", false),
            ("{}/{path}", false),
            ("{path", false),
            ("path}", false),
            ("{{path}}", false),
            ("/{host}/{path}", false),
            ("../{path}", false),
            ("{host}/../{path}", false),
            ("{host}/./{path}", false),
            ("{host}//{path}", false),
            ("{path}/", false),
            (".pipeline/{path}", false),
            ("a\0/{path}", false),
        ];
        for (layout, expected) in table {
            assert_eq!(check(layout).is_some(), expected, "{layout}");
        }
    }
}
