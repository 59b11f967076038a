//! The command line, made from the table of options.

use super::configuration::Configuration;
use super::failure::Failure;
use super::refusal::cause;
use crate::options::{Given, LogFormat, OPTIONS, OptionDef, Value, find_option};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use std::ffi::OsString;
use std::path::PathBuf;

/// The user's command.
#[derive(Debug)]
pub(super) enum Command {
    /// Runs a broker.
    Run(Configuration),
    /// Tells the faults of this configuration file.
    Check(PathBuf),
    /// Prints the help or the version.
    Show(String),
}

/// Reads the arguments, the program's name first, and the environment.
pub(super) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, Failure> {
    match command().try_get_matches_from(arguments) {
        Ok(matches) => {
            let file = matches.get_one::<PathBuf>(CONFIG).cloned();
            if matches.get_flag(DAEMON) {
                return Err(Failure::usage(NO_DAEMON));
            }
            match (file, matches.get_flag(TEST_CONFIG)) {
                (Some(file), true) => Ok(Command::Check(file)),
                (None, true) => Err(Failure::usage("--test-config needs a file: add -c FILE")),
                (file, false) => Ok(Command::Run(Configuration { given: read(&matches), file })),
            }
        }
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Command::Show(format!("{}\n", error.render().to_string().trim_end())))
            }
            _ => Err(Failure::usage(format!("{}; see ringmq --help", cause(&error)))),
        },
    }
}

/// The format of the log in arguments that are not valid as a whole: from the flag, or from the
/// environment variable.
pub(super) fn log_format(arguments: impl Iterator<Item = OsString>) -> LogFormat {
    let arguments: Vec<OsString> = arguments.collect();
    let flag = |argument: &OsString| argument == "--log-format";
    let after = arguments.iter().skip_while(|argument| !flag(argument)).nth(1);
    let joined = arguments.iter().find_map(|argument| {
        let value = argument.to_str()?.strip_prefix("--log-format=")?;
        Some(OsString::from(value))
    });
    let variable = || std::env::var_os(find_option("log-format")?.variable());
    match after.cloned().or(joined).or_else(variable) {
        Some(value) if value == "json" => LogFormat::Json,
        _ => LogFormat::Text,
    }
}

pub(super) fn command() -> clap::Command {
    let command = clap::Command::new("ringmq")
        .version(env!("CARGO_PKG_VERSION"))
        .about(
            "An MQTT 5.0 and 3.1.1 broker for Linux: one publish reaches thousands of subscribers.",
        )
        .max_term_width(100);
    let config = Arg::new(CONFIG)
        .long(CONFIG)
        .short('c')
        .value_name("FILE")
        .env("RINGMQ_CONFIG")
        .value_parser(value_parser!(PathBuf))
        .help(
            "Read options from this file: TOML with the flags' names as keys, or, when its name \
             ends in .conf, Mosquitto's format. Flags and variables win over it.",
        );
    let command = command.arg(config).args(of_mosquitto()).after_help(COMMANDS);
    OPTIONS.iter().map(argument).fold(command, clap::Command::arg)
}

/// The flags that Mosquitto has besides its configuration file's.
fn of_mosquitto() -> [Arg; 4] {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let port = Arg::new(PORT)
        .long(PORT)
        .short('p')
        .value_name("PORT")
        .value_parser(value_parser!(u16).range(1..))
        .action(ArgAction::Append)
        .help("Listen at this port of 127.0.0.1; may be repeated");
    [
        port,
        flag(VERBOSE, "Log debug lines, too").short('v').conflicts_with("log-level"),
        flag(TEST_CONFIG, "Tell the faults of the configuration file, and start nothing"),
        flag(DAEMON, "").short('d').hide(true),
    ]
}

const CONFIG: &str = "config";
const PORT: &str = "port";
const VERBOSE: &str = "verbose";
const TEST_CONFIG: &str = "test-config";
const DAEMON: &str = "daemon";
const NO_DAEMON: &str = "-d: ringmq stays in the foreground; leave -d out, and let systemd \
                         (Type=notify) start it, or a shell's &";
const COMMANDS: &str = "Commands: ringmq passwd FILE USER adds a user to a password file; ringmq \
                        check FILE tells the faults of a configuration file; ringmq journal \
                        verify|dump|compact DIR reads or shrinks a data directory; ringmq import \
                        FILE DIR takes in a mosquitto.db or an export; ringmq export DIR writes \
                        one; ringmq audit \
                        verify FILE finds what was changed in an audit log.\n\n\
                        The running broker answers ringmq clients, client ID, subscribers TOPIC, \
                        slow, drops, histogram, status, health, journal status, config, trace, \
                        top (live, in the terminal), retained [FILTER] and token; and heeds ringmq \
                        kick ID, cut-queue ID, retained FILTER --delete, publish TOPIC PAYLOAD, \
                        reload, log-level LEVEL and drain. Each has --help.";

fn argument(option: &OptionDef) -> Arg {
    let argument = Arg::new(option.name)
        .long(option.name)
        .value_name(option.value_name)
        .help(help(option))
        .env(option.variable());
    if option.set.is_list() {
        return argument.action(ArgAction::Append).value_delimiter(',');
    }
    argument
}

fn help(option: &OptionDef) -> String {
    match option.default {
        "" => option.help.to_owned(),
        default => format!("{} [default: {default}]", option.help),
    }
}

fn read(matches: &ArgMatches) -> Given {
    let mut given = Given::default();
    for option in OPTIONS {
        let origin = given_as(option, matches);
        let values = matches.get_many::<String>(option.name).into_iter().flatten();
        let values = values.map(|text| Value::new(text, &*origin));
        given.add(option, values.chain(short(option, matches)));
    }
    given
}

/// The values of an option that Mosquitto's flags give.
fn short(option: &OptionDef, matches: &ArgMatches) -> Vec<Value> {
    let ports = matches.get_many::<u16>(PORT).into_iter().flatten();
    match option.name {
        "listen" => ports.map(|port| Value::new(format!("127.0.0.1:{port}"), "-p")).collect(),
        "log-level" if matches.get_flag(VERBOSE) => vec![Value::new("debug", "-v")],
        _ => Vec::new(),
    }
}

fn given_as(option: &OptionDef, matches: &ArgMatches) -> String {
    match matches.value_source(option.name) {
        Some(ValueSource::EnvVariable) => option.variable(),
        _ => format!("--{}", option.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn run(arguments: &[&str]) -> Result<Command, Failure> {
        parse(std::iter::once("ringmq").chain(arguments.iter().copied()).map(OsString::from))
    }

    fn try_options(arguments: &[&str]) -> Result<Options, Failure> {
        match run(arguments)? {
            Command::Run(configuration) => {
                Options::build(&configuration.read()?).map_err(Failure::usage)
            }
            Command::Show(text) => panic!("{text}"),
            Command::Check(file) => panic!("{}", file.display()),
        }
    }

    fn options(arguments: &[&str]) -> Options {
        try_options(arguments).expect("accepted")
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(options(&[]), Options::default());
    }

    #[test]
    fn flags_replace_the_default_and_repeat_where_they_may() {
        let given = options(&["--listen", "127.0.0.1:1", "--listen=[::1]:2", "--workers", "3"]);
        assert_eq!((given.listeners.len(), given.workers), (2, 3));
    }

    #[test]
    fn every_wrong_argument_gives_one_line() {
        let wrong: &[&[&str]] = &[
            &["--nonsense"],
            &["extra"],
            &["--workers"],
            &["--workers", "-1"],
            &["--workers", "1", "--workers", "2"],
            &["--pin", "1,1"],
            &["--listen", "no-such-host.invalid:1883"],
            &["--max-packet-size", "99999999999999999999"],
            &["--log-level", "loud\nly"],
        ];
        for arguments in wrong {
            let failure = try_options(arguments).expect_err("refused");
            assert!(!failure.line().contains('\n'), "{}", failure.line());
        }
    }

    #[test]
    fn mosquittos_flags_mean_what_they_mean_there() {
        let given = options(&["-p", "1884", "-p", "1885", "-v"]);
        let places: Vec<_> = given.listeners.iter().map(ToString::to_string).collect();
        assert_eq!(places, ["mqtt://127.0.0.1:1884", "mqtt://127.0.0.1:1885"]);
        assert_eq!(given.log_level, crate::options::LogLevel::Debug);
        let Ok(Command::Run(configuration)) = run(&["-c", "a.conf"]) else { panic!("it runs") };
        assert_eq!(configuration.file, Some("a.conf".into()));
        let tested = run(&["--test-config", "-c", "a.conf"]);
        assert!(matches!(tested, Ok(Command::Check(file)) if file.as_os_str() == "a.conf"));
        for (wrong, why) in [
            (&["-d"][..], "foreground"),
            (&["--test-config"], "-c FILE"),
            (&["-p", "0"], "-p"),
            (&["-v", "--log-level", "warn"], "--log-level"),
        ] {
            let failure = try_options(wrong).expect_err("refused");
            assert!(failure.line().contains(why), "{}", failure.line());
        }
    }

    #[test]
    fn help_and_version_stay_what_they_are() {
        let Command::Show(help) = run(&["--help"]).unwrap() else { panic!("no help") };
        for option in OPTIONS {
            assert!(help.contains(&format!("--{}", option.name)), "{}", option.name);
            assert!(help.contains(&option.variable()), "{}", option.name);
        }
        assert!(matches!(run(&["--version"]), Ok(Command::Show(_))));
    }
}
