//! Parsers of values: paths, networks, URLs.

use super::values::{Expected, MqttVersion, parse};
use std::path::PathBuf;

pub(super) fn path(value: &str) -> Option<PathBuf> {
    (!value.is_empty()).then(|| value.into())
}

pub(super) fn paths(values: &[&str]) -> Vec<PathBuf> {
    values.iter().filter_map(|value| path(value)).collect()
}

pub(super) fn websocket_path(value: &str) -> Result<Box<str>, Expected> {
    let is_path = value.starts_with('/') && !value.contains(['?', '#', ' ']);
    is_path.then(|| value.into()).ok_or_else(|| Expected::refused(value, "a path such as /mqtt"))
}

pub(super) fn mqtt_version(value: &str) -> Result<MqttVersion, Expected> {
    parse(value, "3.1, 3.1.1 or 5.0")
}

/// The beginning of an identifier.
pub(super) fn prefix(value: &str) -> Result<Box<str>, Expected> {
    let is_right = value.len() <= PREFIX_BYTES_MAX && !value.contains(char::is_control);
    is_right.then(|| value.into()).ok_or_else(|| {
        let expected = format!("text of at most {PREFIX_BYTES_MAX} bytes");
        Expected::refused(value, &expected)
    })
}

/// As in Mosquitto.
const PREFIX_BYTES_MAX: usize = 50;

/// A network, or one address.
pub(super) fn network(value: &str) -> Result<ipnet::IpNet, Expected> {
    let address = || value.parse().ok().map(|address: std::net::IpAddr| address.into());
    let expected = || Expected::refused(value, "a network such as 10.0.0.0/8 or an address");
    value.parse().ok().or_else(address).ok_or_else(expected)
}

pub(super) fn anonymous(value: &str) -> Result<Option<bool>, Expected> {
    match value {
        "auto" => Ok(None),
        value => parse(value, "auto, true or false").map(Some),
    }
}

pub(super) fn http_url(value: &str) -> Result<Option<Box<str>>, Expected> {
    let is_url = value.starts_with("http://") || value.starts_with("https://");
    match value {
        "" => Ok(None),
        url if is_url => Ok(Some(url.into())),
        // It is not shown: there may be a password in it.
        _ => Err(Expected::hidden("an http:// or https:// URL")),
    }
}
