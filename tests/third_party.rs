//! Clients that others wrote, really run: each publishes, subscribes, leaves a will, uses retained
//! messages and shared subscriptions. `scripts/install-test-tools.sh` installs them.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::broker::Broker;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn root(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

/// Runs `program script HOST PORT` against a broker of its own with one worker, then with two.
fn run(program: PathBuf, script: &str) {
    let is_there = program.is_file() || program.components().count() == 1;
    assert!(is_there, "{} is missing: run scripts/test.sh", program.display());
    for workers in ["1", "2"] {
        let broker = Broker::start(&["--workers", workers]);
        let output = Command::new(&program)
            .arg(root("tests/third_party").join(script))
            .args([broker.address.ip().to_string(), broker.address.port().to_string()])
            .env("MODULES", root(".test-env/node_modules"))
            .output()
            .unwrap_or_else(|error| panic!("{} does not run: {error}", program.display()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{script} with {workers} workers:\n{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        let status = broker.stop();
        assert_eq!(status, Some(0));
    }
}

fn python() -> PathBuf {
    root(".test-env/venv/bin/python")
}

#[test]
fn mosquitto_pub_and_sub() {
    run("bash".into(), "mosquitto.sh");
}

#[test]
fn paho_mqtt() {
    run(python(), "paho_client.py");
}

#[test]
fn gmqtt() {
    run(python(), "gmqtt_client.py");
}

#[test]
fn aiomqtt() {
    run(python(), "aiomqtt_client.py");
}

#[test]
fn mqtt_js() {
    run("node".into(), "mqttjs_client.mjs");
}
