//! The commands that ask the running broker, or tell it to do something.

mod asking;
mod commands;
mod tables;
mod top;

use super::failure::Failure;
use super::refusal::{refuse, show};
use crate::access::Tokens;
use asking::{Asking, Question};
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ArgMatches;
pub(super) use commands::{JOURNAL_STATUS, all as command};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tables::{durations, packet, plain, table};

/// The names of the commands.
pub(super) const COMMANDS: [&str; 20] = [
    "clients",
    "client",
    "subscribers",
    "slow",
    "drops",
    "histogram",
    "status",
    "health",
    "config",
    "retained",
    "publish",
    "kick",
    "cut-queue",
    "reload",
    "log-level",
    "drain",
    "token",
    "trace",
    "top",
    "ask",
];

/// Runs the command whose name the arguments begin with. The exit status is 1 when the broker
/// cannot be asked, or refuses, 2 for wrong arguments.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = std::iter::once("ringmq".into()).chain(arguments).collect();
    let matches = match commands::all().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // The second line names the first argument that is missing.
            let text = error.render().to_string();
            let missing = text.lines().nth(1).unwrap_or_default().trim();
            return refuse(&error, "ringmq", &format!("{missing} is needed"));
        }
    };
    let found = matches.subcommand().map(|(name, asked)| match asked.subcommand() {
        Some((_, of_journal)) => (name, of_journal),
        None => (name, asked),
    });
    let Some((name, asked)) = found else { return ExitCode::from(2) };
    let asking = match asking(asked) {
        Ok(asking) if name == "top" => return top::run(asking),
        asking => asking,
    };
    match asking.and_then(|asking| answer(&asking, name, asked)) {
        Ok(text) => show(&text),
        Err(cause) => Failure::start(cause).report(),
    }
}

/// The value of an argument as text, if the command has it and it is given.
fn given<'a>(asked: &'a ArgMatches, name: &str) -> Option<&'a str> {
    asked.try_get_one::<String>(name).ok().flatten().map(String::as_str)
}

fn path<'a>(asked: &'a ArgMatches, name: &str) -> Option<&'a PathBuf> {
    asked.get_one::<PathBuf>(name)
}

/// The broker that the arguments name, and the right by which it is asked.
fn asking(asked: &ArgMatches) -> Result<Asking, String> {
    let token = match path(asked, "token-file") {
        Some(file) => Tokens::read(file)?.0.any().map(ToOwned::to_owned),
        None => given(asked, "token").map(ToOwned::to_owned),
    };
    let admin = given(asked, "admin").map(ToOwned::to_owned);
    Ok(Asking { admin, token, ca: path(asked, "ca").cloned() })
}

fn answer(asking: &Asking, name: &str, asked: &ArgMatches) -> Result<String, String> {
    if name == "trace" {
        let is_json = asked.get_flag("json");
        let print =
            |value: &Value| write_line(&if is_json { value.to_string() } else { packet(value) });
        return asking.follow(&question(name, asked)?, print).map(|()| String::new());
    }
    let value = asking.ask(&question(name, asked)?)?;
    if asked.get_flag("json") {
        return Ok(format!("{value}\n"));
    }
    Ok(text(name, &value))
}

/// Writes a line at once; false when nobody reads it.
fn write_line(line: &str) -> bool {
    let mut out = std::io::stdout();
    line.is_empty() || writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

/// The request that a command makes.
fn question<'a>(name: &str, asked: &'a ArgMatches) -> Result<Question<'a>, String> {
    let get = |path, query| Question { method: Method::GET, path, query, body: None };
    let post = |path, body| Question { method: Method::POST, path, query: Vec::new(), body };
    let of = |name: &'static str| given(asked, name).map(|value| (name, value.to_owned()));
    let limit = || {
        let limit = asked.get_one::<u16>("limit").copied().unwrap_or(100);
        ("limit", limit.to_string())
    };
    let id = || vec![("id", given(asked, "id").unwrap_or_default().to_owned())];
    let delete = |path, query| Question { method: Method::DELETE, path, query, body: None };
    Ok(match name {
        "clients" => {
            let names = ["prefix", "glob", "user", "address", "transport", "version", "worker"];
            let query = names.into_iter().chain(["connected", "sort"]).filter_map(of);
            let drops = given(asked, "has-drops").map(|value| ("has_drops", value.to_owned()));
            get("clients", query.chain(drops).chain([limit()]).collect())
        }
        "client" => get("client", id()),
        "subscribers" => {
            get("subscribers", ["topic", "filter"].into_iter().filter_map(of).collect())
        }
        "journal" => get("journal", Vec::new()),
        "slow" => get("clients", vec![("sort", "queued_bytes".to_owned()), limit()]),
        "drops" => {
            let sort = ("sort", "dropped_messages".to_owned());
            get("clients", vec![sort, ("has_drops", "true".to_owned()), limit()])
        }
        "histogram" => get("durations", of("worker").into_iter().collect()),
        "retained" if asked.get_flag("delete") => {
            let dry_run = ("dry_run", asked.get_flag("dry-run").to_string());
            delete("retained", of("filter").into_iter().chain([dry_run]).collect())
        }
        "retained" => get("retained/messages", of("filter").into_iter().chain([limit()]).collect()),
        "publish" => post("publish", Some(message(asked)?)),
        "kick" if asked.get_flag("session") => delete("client/session", id()),
        "kick" => {
            let code = asked.get_one::<u8>("reason-code").map(|code| code.to_string());
            let mut query = id();
            query.extend(code.map(|code| ("reason_code", code)));
            let place = given(asked, "server-reference");
            query.extend(place.map(|place| ("server_reference", place.to_owned())));
            Question { query, ..post("client/disconnect", None) }
        }
        "cut-queue" => delete("client/queue", id()),
        "reload" => post("reload", None),
        "log-level" => {
            let body = Some(json!({ "level": given(asked, "level") }));
            Question { method: Method::PUT, path: "log-level", query: Vec::new(), body }
        }
        "drain" => {
            let over_s = asked.get_one::<u32>("over");
            let server_reference = given(asked, "server-reference");
            let body = json!({ "over_s": over_s, "server_reference": server_reference });
            post("drain", Some(body))
        }
        "trace" => {
            let names = ["client", "user", "topic"].into_iter().filter_map(of);
            let payload = ("payload", asked.get_flag("payload").to_string());
            get("trace", names.chain([payload]).collect())
        }
        "ask" => get(given(asked, "path").unwrap_or_default(), Vec::new()),
        "status" => get("status", Vec::new()),
        "health" => get("health", Vec::new()),
        "config" => get("config", Vec::new()),
        _ => get("token", Vec::new()),
    })
}

/// The message that is to be published.
fn message(asked: &ArgMatches) -> Result<Value, String> {
    let payload = match given(asked, "payload") {
        Some("-") => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().read_to_end(&mut bytes);
            read.map_err(|error| format!("the payload cannot be read: {error}"))?;
            bytes
        }
        text => text.unwrap_or_default().as_bytes().to_vec(),
    };
    Ok(json!({
        "topic": given(asked, "topic"),
        "payload_base64": STANDARD.encode(payload),
        "qos": given(asked, "qos").and_then(|qos| qos.parse::<u8>().ok()).unwrap_or(0),
        "retain": asked.get_flag("retain"),
    }))
}

/// An answer for people.
fn text(name: &str, value: &Value) -> String {
    let rows = |name: &str| value[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let with_more = |mut text: String| {
        if !value["next"].is_null() {
            text += "(there are more; see --limit)\n";
        }
        text
    };
    match name {
        "clients" => with_more(table(rows("clients"), &CLIENT_COLUMNS)),
        "slow" => table(rows("clients"), &SLOW_COLUMNS),
        "client" => {
            let mut text = lines(&value["client"]) + &lines(&value["tcp"]);
            let columns: [(&str, &[&str]); 3] = [
                ("filters", &["filter", "qos"]),
                ("inflight", &["packet_id", "topic", "bytes", "qos", "age_s"]),
                ("queued", &["topic", "bytes", "qos", "age_s"]),
            ];
            for (name, columns) in columns {
                if !rows(name).is_empty() {
                    text += &format!("\n{name}:\n{}", table(rows(name), columns));
                }
            }
            text
        }
        "drops" => {
            let columns = ["client_id", "dropped_messages", "drops", "connected", "worker"];
            table(rows("clients"), &columns)
        }
        "histogram" => table(&durations(value), &DURATION_COLUMNS),
        "subscribers" => {
            let (rows, count) = (rows("subscribers"), &value["count"]);
            let mut text = table(rows, &["client_id", "filter", "qos"]);
            if count.as_u64().is_some_and(|count| count > rows.len() as u64) {
                text += &format!("(the first {} of {count})\n", rows.len());
            }
            text
        }
        "journal" => {
            let mut state = value.clone();
            let mut part = |name| state.as_object_mut().and_then(|all| all.remove(name));
            let (commit, metrics) = (part("commit"), part("metrics").unwrap_or_default());
            let commits = table(commit.as_slice(), &DURATION_COLUMNS[3..]);
            lines(&state) + &lines(&metrics) + "\ncommits:\n" + &commits
        }
        "retained" if value["count"].is_null() => with_more(table(
            rows("messages"),
            &["topic", "qos", "bytes", "user", "age_s", "expiry_s"],
        )),
        "config" => table(rows("options"), &["name", "value", "source", "listener"]),
        "token" if value["dashboard"].is_string() => plain(&value["dashboard"]) + "\n",
        "ask" => format!("{value:#}\n"),
        _ => lines(value),
    }
}

/// The fields of an object, one on each line.
fn lines(value: &Value) -> String {
    let fields = value.as_object().into_iter().flatten();
    fields.map(|(name, value)| format!("{name}: {}\n", plain(value))).collect()
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

/// The columns of the list of slow clients.
const SLOW_COLUMNS: [&str; 9] = [
    "client_id",
    "queued_messages",
    "queued_bytes",
    "inflight_messages",
    "oldest_s",
    "ack_mean_ms",
    "blocked",
    "address",
    "worker",
];

/// The columns of the list of durations.
const DURATION_COLUMNS: [&str; 9] =
    ["what", "qos", "since", "count", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"];
