//! Mosquitto's configuration file, as Mosquitto 2 reads it.
//!
//! A translated broker must not be more open than Mosquitto is. So a client without a name comes in
//! only where `allow_anonymous true` is written, or where no listener is and only this machine can
//! connect. An option that decides which clients come in and has no counterpart is refused, see
//! `table.rs`. Where Mosquitto itself ignores a line, as `allow_anonymous false` without a
//! listener, ringmq obeys it.
//!
//! As in Mosquitto, relative paths begin in the working directory. Options above all listeners
//! describe the default listener, and any of them opens it on port 1883, besides the others.

mod broker;
mod counterparts;
mod listener;
mod reader;
mod table;
#[cfg(test)]
mod tests;

pub(in crate::server) use counterparts::mosquitto_names;

use super::Contents;
use crate::options::{Given, GivenBridge, Value, Wrong, find_option, mosquittos_bridge_option};
use listener::Listeners;
use reader::{Files, Line, Section, last};
use std::path::Path;

/// Reads a file's text, and the files that it includes.
pub(super) fn read(path: &Path, text: &str) -> Contents {
    let mut files = Files::read(path, text);
    let sections = std::mem::take(&mut files.sections);
    let mut contents = Contents {
        wrong: std::mem::take(&mut files.wrong),
        warnings: std::mem::take(&mut files.warnings),
        given: Given::default(),
    };
    broker::translate(&path.display().to_string(), &files.broker, &mut contents);
    for bridge in &files.bridges {
        add_bridge(bridge, &mut contents);
    }
    // Whoever may come in may take over any session, as the file's author is used to.
    let nobody = Value::new("none", path.display().to_string());
    add(&mut contents.given, "client-id-owner", nobody);
    let prefix = Value::new("auto-", path.display().to_string());
    add(&mut contents.given, "assigned-client-id-prefix", prefix);
    let is_local = is_local_only(&sections);
    let anonymous = Value::new(is_local.to_string(), path.display().to_string());
    match files.is_per_listener {
        // Each listener of the file says it for itself, but a flag may bring others.
        true => add(&mut contents.given, "allow-anonymous", anonymous),
        false => {
            for (name, value) in security(&files.security, anonymous) {
                add(&mut contents.given, name, value);
            }
        }
    }
    let mut listeners = Listeners::new(path, files.is_per_listener, &mut contents);
    match is_local {
        true => listeners.add_local(&sections[0]),
        false => listeners.add(&sections),
    }
    contents
}

/// True when the file opens no listener: then only this machine can connect.
fn is_local_only(sections: &[Section]) -> bool {
    let default = &sections[0].lines;
    sections.len() == 1
        && last(default, "port").is_none()
        && last(default, "bind_address").is_none()
}

/// The values that decide which clients come in. `anonymous` is used when no line is about
/// anonymous clients.
fn security(lines: &[Line], anonymous: Value) -> Vec<(&'static str, Value)> {
    let anonymous = last(lines, "allow_anonymous")
        .map_or(anonymous, |line| Value::new(line.is_true().to_string(), &*line.value_origin));
    let text = |name, line: &Line| (name, Value::new(&*line.value, &*line.value_origin));
    let texts = [
        ("password_file", "password-file"),
        ("acl_file", "acl-file"),
        ("auto_id_prefix", "assigned-client-id-prefix"),
    ];
    let texts = texts.iter().filter_map(|(name, ours)| Some(text(*ours, last(lines, name)?)));
    let empty_id = last(lines, "allow_zero_length_clientid").map(|line| {
        let value = Value::new(line.is_true().to_string(), &*line.value_origin);
        ("allow-empty-client-id", value)
    });
    std::iter::once(("allow-anonymous", anonymous)).chain(texts).chain(empty_id).collect()
}

/// Adds a bridge; one without a name is refused.
fn add_bridge(section: &Section, contents: &mut Contents) {
    let Some(line) = &section.listener else { return };
    if line.value.is_empty() {
        let cause = "connection: the bridge needs a name: connection NAME";
        return contents.wrong.push(Wrong::new(&line.origin, cause));
    }
    let values = section.lines.iter().filter_map(|line| {
        let option = mosquittos_bridge_option(&line.name)?;
        let origin = format!("{}: {}", line.value_origin, line.name);
        Some((option, Value::new(&*line.value, origin)))
    });
    let name = Value::new(&*line.value, &*line.value_origin);
    contents.given.add_bridge(GivenBridge { name, values: values.collect() });
}

fn add(given: &mut Given, name: &str, value: Value) {
    given.add(find_option(name).expect("translations name options of the table"), [value]);
}
