//! What several integration tests need.
#![allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations)]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

pub mod bare;
pub mod broker;
pub mod folder;
pub mod http;
pub mod live_bytes;
pub mod peer;
pub mod server;
pub mod vectors;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A client that waits longer for an answer hangs: no busy machine takes so long, and every wait
/// that a fault of the broker has brought was longer.
pub const HANGS: Duration = Duration::from_secs(60);

/// Programs, and what happens once something else has, may take so long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What keeps brokers that run side by side from the operator's usual places.
pub const NO_ADMIN: [(&str, &str); 2] =
    [("RINGMQ_ADMIN_LISTEN", "none"), ("RINGMQ_ADMIN_SOCKET", "none")];

/// The broker's program, without the operator's usual places.
pub fn ringmq() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.envs(NO_ADMIN);
    command
}

/// A password file in `folder` in which these users have one password.
pub fn passwords(folder: &folder::Folder, users: &[&str], password: &str) -> String {
    let path = folder.path().join("users").display().to_string();
    for (index, user) in users.iter().enumerate() {
        let create: &[&str] = if index == 0 { &["--create"] } else { &[] };
        let mut child = ringmq()
            .args(["passwd", "-b"])
            .args(create)
            .args([&path, *user])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
        assert!(child.wait().unwrap().success());
    }
    path
}

/// So many cases of a property test; what fails is printed in full, so no file is written.
pub fn cases(count: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases: count, failure_persistence: None, ..Default::default() }
}
