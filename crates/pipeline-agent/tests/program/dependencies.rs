//! What the agent is made of. It is uploaded over slow links to small machines.

use super::*;

#[test]
fn the_agent_has_none_of_the_collectors_libraries_in_it() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "pipeline-agent", "--edges", "normal", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names = tree.lines().filter_map(|line| line.split_whitespace().next()).collect::<Vec<_>>();
    for expected in ["pipeline-core", "postcard", "sha2", "zstd-safe"] {
        assert!(names.contains(&expected), "{expected} is not in {names:?}");
    }
    for forbidden in ["openssl", "ssh2", "sqlite", "yaml", "json", "clap", "globset", "jiff"] {
        let found = names.iter().find(|name| name.contains(forbidden));
        assert_eq!(found, None, "the collector's {forbidden} is in the agent");
    }
}
