//! The arguments of the commands.

use clap::{Arg, ArgAction, ArgGroup, Command, value_parser};
use std::path::PathBuf;

/// The columns by which clients are sorted.
const COLUMNS: [&str; 12] = [
    "client_id",
    "queued_messages",
    "queued_bytes",
    "inflight_messages",
    "subscriptions",
    "silent",
    "oldest",
    "dropped_messages",
    "messages_sent",
    "ack_mean",
    "memory",
    "rate",
];

const SCHEMES: [&str; 5] = ["mqtt", "mqtts", "ws", "wss", "unix"];
const VERSIONS: [&str; 3] = ["3.1", "3.1.1", "5.0"];

/// The help of `ringmq journal status`.
pub(in crate::server) const JOURNAL_STATUS: &str =
    "Tells the state and the figures of the running broker's journal";

/// All commands, with what they have in common.
pub(in crate::server) fn all() -> Command {
    let place = "The broker: a socket's path, ADDR:PORT, or https://HOST:PORT";
    let file = |name, help| text(name, "FILE", help).value_parser(value_parser!(PathBuf));
    let common = [
        text("admin", "PLACE", place).env("RINGMQ_ADMIN"),
        file("token-file", "A file with a token; or set RINGMQ_ADMIN_TOKEN"),
        // The list of processes would show it.
        text("token", "TOKEN", "A token").env("RINGMQ_ADMIN_TOKEN").hide(true),
        file("ca", "The authority of the broker's certificate, in PEM"),
    ];
    let json = flag("json", "Print the answer as JSON, for programs");
    let commands = questions().into_iter().chain(orders()).map(|command| command.arg(&json));
    let status = Command::new("status").about(JOURNAL_STATUS).arg(&json).args(&common);
    let journal = Command::new("journal").subcommand_required(true).subcommand(status);
    let top = Command::new("top").about(
        "Shows the broker in the terminal, live: its figures, and its clients; ? tells keys.",
    );
    let commands = commands.chain([top]).map(|command| command.args(&common));
    Command::new("ringmq").subcommands(commands).subcommand(journal)
}

/// An argument with a value.
fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

/// An argument without a name, which is needed.
fn named(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_name(value).required(true).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn limit(default: &'static str) -> Arg {
    text("limit", "COUNT", "How many")
        .value_parser(value_parser!(u16).range(1..=1000))
        .default_value(default)
}

fn client() -> Arg {
    named("id", "ID", "The client identifier")
}

/// The commands that only ask.
fn questions() -> Vec<Command> {
    let connected = text("connected", "CHOICE", "Only those that are connected, or are not");
    vec![
        Command::new("clients")
            .about("Lists clients and the sessions of those that are away.")
            .arg(text("prefix", "TEXT", "Only those whose identifier begins so"))
            .arg(text("user", "NAME", "Only those of this user"))
            .arg(text("glob", "PATTERN", "Only those whose identifier is like it: * is any text"))
            .arg(text("address", "TEXT", "Only those whose address begins so"))
            .arg(text("transport", "SCHEME", "Only those who came by it").value_parser(SCHEMES))
            .arg(text("version", "VERSION", "Only those who speak it").value_parser(VERSIONS))
            .arg(text("worker", "NUMBER", "Only those of this worker"))
            .arg(
                text("has-drops", "CHOICE", "Only those that messages did not reach")
                    .value_parser(["true", "false"]),
            )
            .arg(connected.value_parser(["true", "false"]))
            .arg(
                text("sort", "COLUMN", "The order, the greatest first")
                    .value_parser(COLUMNS)
                    .default_value("client_id"),
            )
            .arg(limit("100")),
        Command::new("client").about("Tells what is known of one client.").arg(client()),
        Command::new("subscribers")
            .about("Tells who gets what is published to a topic, and by which filter.")
            .arg(Arg::new("topic").value_name("TOPIC").help("The topic"))
            .arg(text("filter", "FILTER", "Those who have subscribed to this very filter instead"))
            .group(ArgGroup::new("which").args(["topic", "filter"]).required(true)),
        Command::new("slow").about("Lists the clients for which most waits.").arg(limit("10")),
        Command::new("drops")
            .about("Lists the clients that most messages did not reach, and why.")
            .arg(limit("10")),
        Command::new("histogram")
            .about("Tells how long deliveries, turns, commits, logins and handshakes take.")
            .arg(text("worker", "NUMBER", "Those of this worker")),
        Command::new("status").about("Tells the state of the broker and of its journal."),
        Command::new("health").about(
            "Ends with 0 while the broker serves and can keep what it acknowledges, else 1.",
        ),
        Command::new("config").about("Lists the options in force, and where each was given."),
        Command::new("token").about("Tells the dashboard's address, with a token."),
        Command::new("trace")
            .about("Shows packets as they pass, until it is ended.")
            .arg(text("client", "ID", "Those of this client"))
            .arg(text("user", "NAME", "Those of this user's clients"))
            .arg(text("topic", "FILTER", "PUBLISH packets on topics that match"))
            .arg(flag("payload", "Show the begin of payloads, too"))
            .group(
                ArgGroup::new("which")
                    .args(["client", "user", "topic"])
                    .multiple(true)
                    .required(true),
            ),
        Command::new("ask")
            .about("Asks the API itself, such as metrics, rates or durations.")
            .arg(named("path", "PATH", "The path below /api/v1/")),
    ]
}

/// The commands that change something.
fn orders() -> Vec<Command> {
    let payload = Arg::new("payload").value_name("PAYLOAD").help("The payload; - reads it");
    let levels = ["error", "warn", "info", "debug", "trace"];
    let code = text("reason-code", "CODE", "The reason code that a 5.0 client is told");
    let over = text("over", "SECONDS", "The time over which they are").default_value("10");
    let reference = |help| text("server-reference", "PLACE", help);
    vec![
        Command::new("retained")
            .about("Lists retained messages, or deletes them.")
            .arg(Arg::new("filter").value_name("FILTER").default_value("#").help("Which ones"))
            .arg(flag("delete", "Delete them, as a client does that publishes empty messages"))
            .arg(flag("dry-run", "Tell only how many would be deleted").requires("delete"))
            .arg(limit("100")),
        Command::new("publish")
            .about("Publishes a message.")
            .arg(named("topic", "TOPIC", "The topic"))
            .arg(payload)
            .arg(text("qos", "LEVEL", "The QoS").value_parser(["0", "1", "2"]))
            .arg(flag("retain", "Have the message retained")),
        Command::new("kick")
            .about("Disconnects a client.")
            .arg(client())
            .arg(flag("session", "End its session, too"))
            .arg(code.value_parser(value_parser!(u8)))
            .arg(reference("The broker that it should use instead")),
        Command::new("cut-queue").about("Drops what waits for a client.").arg(client()),
        Command::new("reload").about("Has all files read again, as SIGHUP does."),
        Command::new("log-level")
            .about("Changes the log's level until the next reload.")
            .arg(named("level", "LEVEL", "The least important one").value_parser(levels)),
        Command::new("drain")
            .about("Sends all clients away, a part at a time, and stops the broker.")
            .arg(over.value_parser(value_parser!(u32).range(0..=86_400)))
            .arg(reference("The broker that they should use instead")),
    ]
}
