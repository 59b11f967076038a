//! Every metric is moved by a known amount: each value of each label has a driver, which does
//! something with a live broker or a bare shard. A metric without a driver fails by its name.
//!
//! A new metric needs a row in the `moves` of a driver of [`DRIVERS`], or a driver of its own.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

#[path = "metrics/clients.rs"]
mod clients;
#[path = "metrics/driver.rs"]
mod driver;
#[path = "metrics/files.rs"]
mod files;
#[path = "metrics/limits.rs"]
mod limits;
#[path = "metrics/messages.rs"]
mod messages;
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
#[path = "transport_peer/pki.rs"]
mod pki;
#[path = "metrics/shards.rs"]
mod shards;
#[path = "metrics/state.rs"]
mod state;
mod support;

use driver::{By, Driver};
use ringmq::metrics::{self, Kind, Metric};
use std::collections::{BTreeMap, BTreeSet};
use support::folder;

/// Declares the drivers: a test for each, and the list of all.
macro_rules! drivers {
    ($($module:ident::$driver:ident as $test:ident,)+) => {
        $(#[test]
        fn $test() {
            $module::$driver.run();
        })+

        const DRIVERS: &[(&str, &Driver)] = &[$((stringify!($test), &$module::$driver)),+];
    };
}

drivers! {
    clients::TRANSPORTS as clients_come_by_every_transport,
    clients::DEPARTURES as clients_go_in_every_way,
    clients::SHUTDOWN as the_broker_goes,
    clients::REFUSALS as clients_are_refused,
    clients::NO_LOGIN_SERVICE as nobody_verifies_a_login,
    clients::LOGINS as logins_are_verified,
    clients::CROWD as too_many_logins_wait,
    messages::TRAFFIC as messages_pass,
    messages::MESH as workers_tell_each_other,
    messages::QUEUES as messages_wait,
    messages::DROPS as messages_are_dropped,
    messages::WITHDRAWALS as messages_are_withdrawn,
    messages::RETRIES as messages_are_sent_again,
    messages::EMPTIED as an_operator_empties_a_queue,
    limits::RIGHTS as rights_end,
    limits::QUOTAS as quotas_are_used_up,
    limits::RATES as a_client_publishes_too_fast,
    limits::EXCESS as too_many_connect,
    limits::LONG_TURNS as work_is_left_for_the_next_turn,
    limits::BLOCKED as a_client_does_not_read,
    shards::REFUSED_MEMORY as memory_is_refused,
    shards::DROPPED_MEMORY as memory_is_taken_back,
    shards::REPLACED as a_newer_message_comes_first,
    shards::REPLAYS as replays_wait,
    state::STANDING as what_stands_is_counted,
    state::BRIDGES as bridges_carry_messages,
    state::PROCESS as the_process_is_described,
    state::MEMORY as memory_has_owners,
    files::JOURNAL as the_journal_is_written,
    files::JOURNAL_REWRITTEN as the_journal_is_rewritten,
    files::JOURNAL_FAILS as the_journal_cannot_be_written,
    files::AUDIT as the_audit_log_is_written,
    files::AUDIT_FAILS as the_audit_log_cannot_be_written,
}

/// The metric of this name.
fn named(name: &str) -> &'static Metric {
    metrics::all().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no metric {name}"))
}

#[test]
fn every_metric_has_a_driver() {
    let mut driven = BTreeSet::new();
    for (test, driver) in DRIVERS {
        for (name, value, by) in driver.moves {
            let metric = named(name);
            assert!(metric.values.contains(value), "{test}: {name} has no value {value:?}");
            let is_state = matches!(metric.kind, Kind::Gauge | Kind::Greatest);
            let is_to = matches!(by, By::To(_) | By::ToAtLeast(..));
            assert!(is_state || !is_to, "{test}: {name} is a count");
            if let By::AtLeast(least, why) | By::ToAtLeast(least, why) = by {
                let says_why = *least > 0 && why.len() > 20;
                assert!(says_why, "{test}: {name} moves by something, and the reason is no reason");
            }
            driven.insert((*name, *value));
        }
    }
    let all = metrics::all().flat_map(|metric| metric.values.iter().map(|v| (metric.name, *v)));
    let missing: Vec<_> = all.filter(|entry| !driven.contains(entry)).collect();
    assert!(missing.is_empty(), "no driver in tests/metrics.rs moves {missing:?}");
}

/// The balance that docs/METRICS.md promises, at rest, of the sums over all workers.
fn balance(series: &BTreeMap<String, f64>) -> (f64, f64) {
    let sum = |name: &str| {
        let name = named(name).prometheus_name();
        let of_it = |series: &&String| series.split('{').next() == Some(&*name);
        series.iter().filter(|(series, _)| of_it(series)).map(|(_, value)| value).sum::<f64>()
    };
    let came = sum("messages_owed") + sum("messages_retried");
    let ways = ["publishes_sent", "messages_dropped", "messages_withdrawn", "queued_messages"];
    (came, ways.into_iter().map(sum).sum())
}

/// The values of a table, as a scrape shows them.
fn shown(table: &[Metric], values: Vec<&[u64]>) -> BTreeMap<String, f64> {
    let entries = table.iter().zip(values).flat_map(|(metric, values)| {
        let pairs = metric.values.iter().zip(values);
        pairs.map(|(label, value)| (driver::series(metric, label), *value as f64))
    });
    entries.collect()
}
