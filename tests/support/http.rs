//! Requests by HTTP, byte by byte.

use super::PATIENCE;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

/// The status, head and body of the answer to some bytes.
pub fn ask(address: &str, request: &str) -> (u16, String, String) {
    let socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    ask_over(socket, request)
}

/// As [`ask`], over a connection.
pub fn ask_over(mut socket: impl Read + Write, request: &str) -> (u16, String, String) {
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    // Only the answer counts, not how the connection ends behind it.
    let _ = socket.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_owned(), body.to_owned())
}

/// As [`ask`], for a path.
pub fn get(address: &str, path: &str) -> (u16, String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    ask(address, &request)
}

/// As [`ask`], for a request with a method, a path, a token and a JSON body.
pub fn send(
    address: &str,
    (method, path): (&str, &str),
    token: &str,
    body: &str,
) -> (u16, serde_json::Value) {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let (status, _, body) = ask(address, &request);
    (status, serde_json::from_str(&body).unwrap_or_default())
}

/// The metrics at an address, the sums over all workers, by name and label.
pub fn scrape(address: &str) -> BTreeMap<String, f64> {
    let (status, head, body) = get(address, "/metrics");
    assert_eq!(status, 200, "{head}");
    let mut sums = BTreeMap::new();
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split(',');
        let labels: Vec<_> =
            labels.filter(|l| !l.is_empty() && !l.starts_with("worker=")).collect();
        let key = match labels.is_empty() {
            true => name.to_owned(),
            false => format!("{name}{{{}}}", labels.join(",")),
        };
        *sums.entry(key).or_insert(0.0) += value.parse::<f64>().unwrap();
    }
    sums
}
