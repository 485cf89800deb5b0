use super::*;
use crate::changes::Editor;
use crate::places::tests::{places, surroundings};

fn wanted() -> Wanted {
    let onboarding = Onboarding { jump: "jump-2".into(), base_port: 6000, ..Onboarding::default() };
    Wanted { onboarding, source: None, storage: None }
}

/// What becomes of a text.
fn edited(text: &str, wanted: &Wanted) -> Result<String, String> {
    let home = tempfile::tempdir().unwrap();
    let (surroundings, places) = (surroundings(home.path()), places(home.path()));
    let file = home.path().join("p.yaml");
    std::fs::write(&file, text).unwrap();
    for dir in [&places.ssh_dir, &places.owned_dir] {
        std::fs::create_dir(dir).unwrap();
    }
    let perform = || Editor::new(places.clone(), false).perform(|| ensure(&file, wanted, &surroundings, &places));
    perform().map_err(|error| error.to_string().replace(home.path().to_str().unwrap(), "~"))?;
    let now = std::fs::read_to_string(&file).unwrap();
    assert!(perform().unwrap().is_empty(), "the second time there is nothing to do");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), now);
    Ok(now)
}

const THREE: &str = "hosts: [pi1]\nsource: /data\nstorage: /srv\n";
const SECTION: &str =
    "onboarding:\n  jump: jump-2\n  name: \"raspberry{id}\"\n  user: pi\n  base_port: 6000\n  key_type: ed25519\n";
const FLOW: &str =
    "onboarding: { jump: jump-2, name: \"raspberry{id}\", user: pi, base_port: 6000, key_type: ed25519 }";

#[test]
fn the_section_is_written_and_nothing_else() {
    let table = [
        (THREE.to_owned(), format!("{THREE}\n{SECTION}")),
        (THREE.trim_end().to_owned(), format!("{THREE}\n{SECTION}")),
        (THREE.replace('\n', "\r\n"), format!("{THREE}\n{SECTION}").replace('\n', "\r\n")),
        (format!("onboarding: {{ jump: old }} # mine\n{THREE}"), format!("{FLOW} # mine\n{THREE}")),
        (format!("onboarding: # none yet\n\n{THREE}"), {
            let (head, keys) = SECTION.split_once('\n').unwrap();
            format!("{head} # none yet\n{keys}\n{THREE}")
        }),
        (
            format!(
                "onboarding:\n    # the old one\n    jump: 'old'   # since 2023\n    key_type: ed25519\n# end\n{THREE}"
            ),
            format!(
                "onboarding:\n    # the old one\n    jump: jump-2   # since 2023\n    key_type: ed25519\n    \
                 name: \"raspberry{{id}}\"\n    user: pi\n    base_port: 6000\n# end\n{THREE}"
            ),
        ),
        // Of the keys that a run needs this one is known.
        (String::new(), format!("hosts: [\"raspberry[1-999]\"]\n\n{SECTION}")),
        ("\"hosts\": [pi1]\n".to_owned(), format!("\"hosts\": [pi1]\n\n{SECTION}")),
    ];
    for (before, after) in table {
        assert_eq!(edited(&before, &wanted()).unwrap(), after, "{before}");
    }
}

#[test]
fn what_is_decided_stays_and_what_is_not_is_filled_in() {
    let given = Wanted { source: Some("/home/pi/bee photos".into()), storage: Some("/srv".into()), ..wanted() };
    let text = edited("#source: /home/pi/beephotos\r\nhosts: [pi1]\nstorage: '/srv' # san\n", &given).unwrap();
    let rest = "hosts: [pi1]\nstorage: '/srv' # san\n";
    assert_eq!(text.replace('\r', ""), format!("source: \"/home/pi/bee photos\"\n{rest}\n{SECTION}"));
    // What a person has written beside it is no place to write.
    for comment in ["# source: ask Anna before you change this, see ticket 12\n", "#source: /x\n"] {
        let text = edited(&format!("{comment}{rest}"), &given).unwrap();
        assert_eq!(text, format!("{comment}{rest}source: \"/home/pi/bee photos\"\n\n{SECTION}"));
    }
    let text = edited("storage: null\n", &given).unwrap();
    assert_eq!(
        text,
        format!("storage: /srv\nsource: \"/home/pi/bee photos\"\nhosts: [\"raspberry[1-999]\"]\n\n{SECTION}")
    );
    assert_eq!(edited(THREE, &given).unwrap_err(), "~/p.yaml has another source: /data");
}

#[test]
fn what_can_not_be_edited_line_by_line_is_refused_untouched() {
    for text in [
        "{ hosts: [pi1], source: /data, storage: /srv }\n",
        "hosts: [pi1]\nsource: /data\nstorage: /srv\n\"onboarding\": { jump: old }\n",
        "onboarding: {\n  jump: old }\n",
        "onboarding:\n  name: >-\n    raspberry{id}\n",
    ] {
        let error = edited(text, &wanted()).unwrap_err();
        assert_eq!(error, "can't edit ~/p.yaml without touching more of it", "{text}");
    }
    assert!(edited("onbording: {}\n", &wanted()).unwrap_err().contains("p.yaml:1:1: unknown key 'onbording'"));
}

#[test]
fn a_new_file_says_everything_that_is_known() {
    let home = tempfile::tempdir().unwrap();
    let (surroundings, places) = (surroundings(home.path()), places(home.path()));
    let write = |name: &str, wanted: &Wanted| {
        let file = home.path().join(name);
        let changes = Editor::new(places.clone(), false).perform(|| {
            let mut changes = crate::local::directories(&places);
            changes.extend(ensure(&file, wanted, &surroundings, &places)?);
            Ok::<_, YamlError>(changes)
        });
        changes.map(|_| Setup::load(&file, &surroundings).unwrap()).map_err(|error| error.to_string())
    };
    let bare = write("new/dir/p.yaml", &wanted()).unwrap();
    assert_eq!((bare.onboarding, bare.config.is_none()), (wanted().onboarding, true));

    let given = Wanted { source: Some("/data".into()), storage: Some("~/\"x\"".into()), ..wanted() };
    let config = write("q.yaml", &given).unwrap().config.unwrap();
    assert_eq!(config.storage, home.path().join("\"x\""));
    assert_eq!(config.hosts[0].names().unwrap().len(), 999);

    let relative = Wanted { source: Some("data".into()), ..wanted() };
    assert!(write("r.yaml", &relative).unwrap_err().contains("source: 'data' is not allowed"));
    assert!(!home.path().join("r.yaml").exists());
}

#[test]
fn scalars_mean_the_text() {
    for (text, expected) in [
        ("awsbox", "awsbox"),
        ("no", "\"no\""),
        ("5000", "\"5000\""),
        ("~", "\"~\""),
        ("a: b", "\"a: b\""),
        ("a\"\\\n", "\"a\\\"\\\\\\u000a\""),
    ] {
        assert_eq!(scalar(text), expected);
    }
}
