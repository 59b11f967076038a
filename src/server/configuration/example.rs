//! The example of a configuration file, from the one table of options.

use crate::options::{OPTIONS, OptionDef};
use std::fmt::Write;

const COLUMNS: usize = 100;

const HEAD: &str = "\
# A configuration file of ringmq, with every option: ringmq --config ringmq.toml
#
# A line that begins with # and a name sets that option to its default, or to an example where it
# has none. Remove the # to set it. Flags win over environment variables, those win over this file.
# Relative paths begin in the folder of this file. SIGHUP makes a running broker read it again;
# ringmq check FILE tells beforehand what is wrong with it.
";

const LISTENERS: &str = "
# Listeners with options of their own; for the rest, what stands above is their default, too. They
# come after everything else, besides those of listen. Only with TLS: tls-*, client-certificates and
# certificate-user; only with WebSocket: websocket-*.

# TLS, and devices show who they are by their certificates.
#[[listener]]
#listen = \"mqtts://0.0.0.0:8883\"
#tls-cert = \"server.pem\"
#tls-key = \"server.key\"
#client-certificates = \"required\"
#tls-client-ca = \"devices.pem\"
#certificate-user = \"cn\"

# WebSocket for browsers; wss:// with a certificate for pages that came by https.
#[[listener]]
#listen = \"ws://127.0.0.1:8083\"
#websocket-path = \"/mqtt\"
#websocket-origin = [\"https://example.org\"]

# Without a password, but only for programs on this machine.
#[[listener]]
#listen = \"unix:/run/ringmq/mqtt.sock\"
#allow-anonymous = true

# A connection to another broker: docs/BRIDGES.md has all its keys.
#[[bridge]]
#name = \"cloud\"
#address = \"mqtts://broker.example.org\"
#topic = [\"sensors/# out 1\", \"commands/# in 1\"]
";

/// The text of `examples/ringmq.toml`.
pub(in crate::server) fn example() -> String {
    let mut text = HEAD.to_owned();
    for option in OPTIONS {
        text.push('\n');
        wrap(option.help, &mut text);
        // Writing to a string does not fail.
        let _ = writeln!(text, "#{} = {}", option.name, value(option));
    }
    text + LISTENERS
}

/// Appends comment lines.
fn wrap(help: &str, text: &mut String) {
    let mut line = String::from("#");
    for word in help.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

fn value(option: &OptionDef) -> String {
    let text = match option.default {
        "" => sample(option),
        default => default.to_owned(),
    };
    let is_bare = text.parse::<u64>().is_ok() || matches!(&*text, "true" | "false");
    match (is_bare, option.set.is_list()) {
        (true, _) => text,
        (_, true) => format!("[{text:?}]"),
        _ => format!("{text:?}"),
    }
}

/// A sample value for an option without a default.
fn sample(option: &OptionDef) -> String {
    match (option.value_name, option.name.strip_suffix("-file")) {
        ("FILE", Some("pid")) => "/run/ringmq.pid".to_owned(),
        ("FILE", Some(name)) => format!("{name}.txt"),
        ("FILE", None) if option.name == "audit-log" => "audit.log".to_owned(),
        ("FILE", None) => format!("{}.pem", option.name),
        ("NETWORK", _) => "10.0.0.0/8".to_owned(),
        ("PREFIX", _) => "device-".to_owned(),
        ("VERSION", _) => "5.0".to_owned(),
        ("ORIGIN", _) => "https://example.org".to_owned(),
        ("ADDR:PORT", _) => "127.0.0.1:9884".to_owned(),
        ("DIR", _) => "/var/lib/ringmq".to_owned(),
        ("NAME", _) => "ringmq".to_owned(),
        ("URL", _) => "https://auth.example.org/mqtt".to_owned(),
        (placeholder, _) => unreachable!("{}: no sample of {placeholder}", option.name),
    }
}

#[cfg(test)]
mod tests {
    use super::super::toml_file;
    use super::*;
    use crate::options::Options;
    use std::path::Path;

    fn built(text: &str) -> Options {
        let contents = toml_file::read(Path::new("/etc/ringmq/ringmq.toml"), text);
        assert_eq!(contents.wrong, []);
        Options::build(&contents.given).expect("accepted")
    }

    #[test]
    fn the_committed_example_is_the_generated_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ringmq.toml");
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        let command = "cargo run -- check --example > examples/ringmq.toml";
        assert!(committed == example(), "it is out of date; {command}");
    }

    #[test]
    fn the_example_changes_nothing_and_with_all_lines_it_is_accepted() {
        assert_eq!(built(&example()), Options::default());
        let is_option =
            |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
        let example = example();
        let lines = example.lines().map(|line| match is_option(line) {
            true => format!("{}\n", &line[1..]),
            false => format!("{line}\n"),
        });
        let options = built(&lines.collect::<String>());
        assert_eq!(options.listeners.len(), 4);
        assert_eq!(options.listeners[0].acl_file.as_deref(), Some("/etc/ringmq/acl.txt".as_ref()));
        assert!(example.lines().all(|line| line.chars().count() <= COLUMNS));
    }
}
