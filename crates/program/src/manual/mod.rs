//! Manual pages and shell completions, made of what can be typed, so that they say the same as the program.
//!
//! Guarantees: every command that is not hidden has its page, with whatever is known of the program besides (exit status, files);
//! the same program writes the same bytes. Leaves to others where it all goes: below `DIR` it lies as below `/usr/share`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

pub mod configuration;

/// Options of the hidden command `manual`.
#[derive(Debug, Args)]
pub struct ManualArgs {
    /// Where to write: man/man1, bash-completion, zsh and fish below it
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Where shells look for completions, below `share`.
const COMPLETIONS: &[(Shell, &str)] = &[
    (Shell::Bash, "bash-completion/completions"),
    (Shell::Zsh, "zsh/site-functions"),
    (Shell::Fish, "fish/vendor_completions.d"),
];

/// Writes the pages of section 1 and the completions of a program.
pub fn write(program: &Command, dir: &Path) -> io::Result<()> {
    let name = program.get_name().to_owned();
    let pages = directory(dir, "man/man1")?;
    // Pages of `help` would say nothing.
    let mut built = program.clone().disable_help_subcommand(true);
    built.build();
    write_pages(&built, &pages)?;
    for &(shell, place) in COMPLETIONS {
        let made = generate_to(shell, &mut program.clone(), &name, directory(dir, place)?)?;
        if shell == Shell::Bash {
            // It looks for a file that is called like the program.
            fs::rename(&made, made.with_file_name(&name))?;
        }
    }
    Ok(())
}

/// Makes a directory below `dir`, and those above it.
pub fn directory(dir: &Path, place: &str) -> io::Result<PathBuf> {
    let directory = dir.join(place);
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

fn write_pages(command: &Command, pages: &Path) -> io::Result<()> {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_pages(command, pages)?;
    }
    let page = Man::new(command.clone());
    page.render(&mut File::create(pages.join(page.get_filename()))?)
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn whatever_can_be_typed_has_its_page() {
        let dir = tempfile::tempdir().unwrap();
        let rebuild =
            Command::new("rebuild").about("Make it anew").arg(Arg::new("dry-run").long("dry-run").num_args(0));
        let program = Command::new("pipeline")
            .version("1.2.3")
            .subcommand(Command::new("catalog").about("Look after it").subcommand(rebuild))
            .subcommand(Command::new("secret").hide(true));
        write(&program, dir.path()).unwrap();
        let mut pages: Vec<_> =
            fs::read_dir(dir.path().join("man/man1")).unwrap().map(|page| page.unwrap().file_name()).collect();
        pages.sort();
        assert_eq!(pages, ["pipeline-catalog-rebuild.1", "pipeline-catalog.1", "pipeline.1"]);
        let page = fs::read_to_string(dir.path().join("man/man1/pipeline-catalog-rebuild.1")).unwrap();
        assert!(page.contains("Make it anew") && page.contains(r"\-\-dry\-run"), "{page}");
        for file in [
            "bash-completion/completions/pipeline",
            "zsh/site-functions/_pipeline",
            "fish/vendor_completions.d/pipeline.fish",
        ] {
            let text = fs::read_to_string(dir.path().join(file)).unwrap();
            assert!(text.contains("rebuild") && text.contains("dry-run"), "{file}");
        }
    }
}
