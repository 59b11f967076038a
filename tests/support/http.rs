//! Requests by HTTP, byte by byte.

use super::PATIENCE;
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
