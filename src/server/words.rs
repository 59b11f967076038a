//! Words about the program for packages and documents, from the one table of options: the whole
//! command line, of which man pages and completions are made, and `docs/OPTIONS.md`.
//!
//! `examples/words.rs` writes them.

use super::configuration::mosquitto_names;
use super::{audit, check, cli, journal_command, passwd, questions};
use crate::options::{OPTIONS, OptionDef, Set};
use clap::Command;
use std::fmt::Write;

const HEAD: &str = "\
# Options

`cargo run --example words -- --options > docs/OPTIONS.md` writes this page from the table that the
program itself goes by, `src/options/table.rs`.

Each option is a flag, an environment variable and a key of the configuration file, whose name is
the flag's without its dashes; flags win over variables, variables over the file. An option that may
be repeated is a list in the file, and has commas in its variable. An option of listeners holds for
all of them, and for one alone behind a `?` in `--listen` or in a `[[listener]]` table. An option
with SIGHUP is read again by a running broker, all others at the next start.
";

/// The whole command line with all commands.
#[must_use]
pub fn command() -> Command {
    let asking = questions::command();
    let (journals, asking): (Vec<_>, Vec<_>) =
        asking.get_subcommands().cloned().partition(|command| command.get_name() == "journal");
    let status = journals.iter().flat_map(Command::get_subcommands).next().cloned();
    let journal = journal_command::command();
    let journal = journal.mut_subcommand("status", |plain| status.unwrap_or(plain));
    let commands = [passwd::command(), check::command(), journal, audit::command()];
    cli::command().subcommands(commands).subcommands(asking).disable_help_subcommand(true)
}

/// The text of `docs/OPTIONS.md`.
#[must_use]
pub fn options() -> String {
    let mut text = HEAD.to_owned();
    for option in OPTIONS {
        // Writing to a string does not fail.
        let _ = write_option(option, &mut text);
    }
    text
}

fn write_option(option: &OptionDef, text: &mut String) -> std::fmt::Result {
    writeln!(text, "\n### `--{} {}`\n", option.name, option.value_name)?;
    // A wildcard is no emphasis.
    writeln!(text, "{}\n", option.help.replace('*', "\\*"))?;
    write!(text, "`{}`", option.variable())?;
    match option.default {
        "" => text.push_str(" · no default"),
        default => write!(text, " · default `{default}`")?,
    }
    text.push_str(match option.set {
        Set::Listen => " · opens a listener",
        Set::Broker(_) => " · of the broker",
        Set::Listener(_) | Set::ListenerList(_) => " · of listeners",
    });
    if option.set.is_list() {
        text.push_str(", may be repeated");
    }
    if option.is_reloaded {
        text.push_str(" · SIGHUP");
    }
    let names: Vec<_> = mosquitto_names(option.name).map(|name| format!("`{name}`")).collect();
    if !names.is_empty() {
        write!(text, " · Mosquitto: {}", names.join(", "))?;
    }
    text.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_committed_page_is_the_generated_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPTIONS.md");
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        let command = "cargo run --example words -- --options > docs/OPTIONS.md";
        assert!(committed == options(), "it is out of date; {command}");
    }

    #[test]
    fn every_command_that_runs_is_in_the_words() {
        let mut command = command();
        command.build();
        command.clone().debug_assert();
        for name in questions::COMMANDS.iter().chain(&["passwd", "check", "journal", "audit"]) {
            let found = command.get_subcommands().find(|it| it.get_name() == *name);
            let found = found.unwrap_or_else(|| panic!("{name}"));
            assert!(found.get_about().is_some(), "{name}");
        }
        let journal = command.find_subcommand("journal").unwrap();
        let status = journal.find_subcommand("status").unwrap();
        assert!(status.get_arguments().any(|argument| argument.get_id() == "admin"));
    }
}
