//! `ringmq clients`, `client` and `subscribers`: questions to the running broker, over its
//! `--admin-listen`.

use super::failure::Failure;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::Value;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// The names of the commands.
pub(super) const COMMANDS: [&str; 4] = ["clients", "client", "subscribers", "histogram"];

/// The time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command whose name the arguments begin with. The exit status is 1 when the broker
/// cannot be asked or does not know the client, 2 for wrong arguments.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = std::iter::once("ringmq".into()).chain(arguments).collect();
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return show(&error.render().to_string());
        }
        // clap lists missing arguments on lines of their own.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
            let text = error.render().to_string();
            let missing = text.lines().nth(1).unwrap_or_default().trim();
            return Failure::usage(format!("{missing} is needed; see ringmq --help")).report();
        }
        Err(error) => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            let line = line.strip_prefix("error: ").unwrap_or(line);
            return Failure::usage(format!("{line}; see ringmq --help")).report();
        }
    };
    let Some((name, asked)) = matches.subcommand() else { return ExitCode::from(2) };
    match answer(name, asked) {
        Ok(text) => show(&text),
        Err(cause) => Failure::start(cause).report(),
    }
}

fn show(text: &str) -> ExitCode {
    // Whoever has closed the standard output still gets the status.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn command() -> Command {
    let admin = Arg::new("admin")
        .long("admin")
        .value_name("ADDR:PORT")
        .env("RINGMQ_ADMIN")
        .default_value("127.0.0.1:9883")
        .help("The broker's --admin-listen");
    let json = Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Print the answer as JSON, for programs");
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let columns = [
        "client_id",
        "queued_messages",
        "queued_bytes",
        "inflight_messages",
        "subscriptions",
        "silent",
    ];
    Command::new("ringmq")
        .subcommand(
            Command::new("clients")
                .about("Lists clients and the sessions of those that are away.")
                .arg(text("prefix", "TEXT", "Only those whose identifier begins so"))
                .arg(text("user", "NAME", "Only those of this user"))
                .arg(
                    text("connected", "CHOICE", "Only those that are connected, or are not")
                        .value_parser(["true", "false"]),
                )
                .arg(text("sort", "COLUMN", "The order, the greatest first").value_parser(columns))
                .arg(
                    text("limit", "COUNT", "How many")
                        .value_parser(value_parser!(u16).range(1..=1000))
                        .default_value("100"),
                )
                .args([admin.clone(), json.clone()]),
        )
        .subcommand(
            Command::new("client")
                .about("Tells what is known of one client.")
                .arg(Arg::new("id").value_name("ID").required(true).help("The client identifier"))
                .args([admin.clone(), json.clone()]),
        )
        .subcommand(
            Command::new("subscribers")
                .about("Tells who gets what is published to a topic, and by which filter.")
                .arg(Arg::new("topic").value_name("TOPIC").required(true).help("The topic"))
                .args([admin.clone(), json.clone()]),
        )
        .subcommand(
            Command::new("histogram")
                .about("Tells how long deliveries, turns, commits, logins and handshakes take.")
                .args([admin, json]),
        )
}

fn answer(name: &str, asked: &ArgMatches) -> Result<String, String> {
    let given = |name: &str| asked.try_get_one::<String>(name).ok().flatten();
    let admin = given("admin").map_or("127.0.0.1:9883", String::as_str);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .build()
        .into();
    let base = format!("http://{admin}/api/v1");
    let request = match name {
        "clients" => {
            let mut request = agent.get(format!("{base}/clients"));
            for name in ["prefix", "user", "connected", "sort"] {
                if let Some(value) = given(name) {
                    request = request.query(name, value);
                }
            }
            let limit = asked.get_one::<u16>("limit").copied().unwrap_or(100);
            request.query("limit", limit.to_string())
        }
        "client" => {
            let id = given("id").map_or("", String::as_str);
            agent.get(format!("{base}/client")).query("id", id)
        }
        "histogram" => agent.get(format!("{base}/durations")),
        _ => {
            let topic = given("topic").map_or("", String::as_str);
            agent.get(format!("{base}/subscribers")).query("topic", topic)
        }
    };
    let no_answer = |error| {
        format!(
            "no broker answers at {admin}: {error}; it needs --admin-listen {admin}, and another \
             address is given with --admin"
        )
    };
    let mut response = request.call().map_err(no_answer)?;
    let text = response.body_mut().read_to_string().map_err(no_answer)?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| format!("the answer of {admin} is not that of ringmq: {error}"))?;
    if let Some(error) = value["error"].as_str() {
        return Err(error.to_owned());
    }
    if asked.get_flag("json") {
        return Ok(format!("{text}\n"));
    }
    Ok(match name {
        "clients" => {
            let rows = value["clients"].as_array().map(Vec::as_slice).unwrap_or_default();
            let mut text = table(rows, &CLIENT_COLUMNS);
            if !value["next"].is_null() {
                text += "(there are more; see --limit, --prefix and --sort)\n";
            }
            text
        }
        "client" => {
            let client = value["client"].as_object();
            let lines = client
                .into_iter()
                .flatten()
                .map(|(name, value)| format!("{name}: {}\n", plain(value)));
            let filters = value["filters"].as_array().map(Vec::as_slice).unwrap_or_default();
            lines.collect::<String>() + &table(filters, &["filter", "qos"])
        }
        "histogram" => table(&durations(&value), &DURATION_COLUMNS),
        _ => {
            let rows = value["subscribers"].as_array().map(Vec::as_slice).unwrap_or_default();
            table(rows, &["client_id", "filter", "qos"])
        }
    })
}

/// The columns of the list of clients.
const CLIENT_COLUMNS: [&str; 9] = [
    "client_id",
    "user",
    "connected",
    "address",
    "version",
    "subscriptions",
    "queued_messages",
    "inflight_messages",
    "worker",
];

/// The columns of the list of durations.
const DURATION_COLUMNS: [&str; 9] =
    ["what", "qos", "since", "count", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"];

/// One row for each duration, QoS and span that has any.
fn durations(value: &Value) -> Vec<Value> {
    let mut rows = Vec::new();
    for (what, spans) in value.as_object().into_iter().flatten() {
        let is_family = spans.get("all").is_none();
        let of_label: Vec<(&str, &Value)> = match is_family {
            true => spans.as_object().into_iter().flatten().map(|(l, v)| (l.as_str(), v)).collect(),
            false => vec![("-", spans)],
        };
        for (qos, spans) in of_label {
            for (since, shown) in spans.as_object().into_iter().flatten() {
                let mut row = shown.clone();
                row["what"] = what.as_str().into();
                row["qos"] = qos.into();
                row["since"] = since.as_str().into();
                rows.extend((shown["count"] != 0).then_some(row));
            }
        }
    }
    rows
}

/// Rows as text, in columns as wide as they have to be.
fn table(rows: &[Value], columns: &[&str]) -> String {
    let head = columns.iter().map(|column| (*column).to_owned()).collect();
    let cells = rows.iter().map(|row| columns.iter().map(|column| plain(&row[*column])).collect());
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// A value for people; control characters of a client's text do nothing to a terminal.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.escape_debug().to_string(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.3}", number.as_f64().unwrap_or_default())
        }
        other => other.to_string(),
    }
}
