//! `$SYS`: names and formats are those of Mosquitto 2.1 where it has them.

use super::View;
use super::loads::{Load, MINUTES};
use std::collections::BTreeMap;
use std::time::Duration;

const PREFIX: &str = "$SYS/broker/";

/// The values that were published last, and what loads need to know of the past.
#[derive(Debug, Default)]
pub(super) struct SysTopics {
    published: BTreeMap<String, String>,
    loads: [Load; 9],
    /// The most sessions at one time so far.
    sessions_max: u64,
}

impl SysTopics {
    /// The topics whose values have changed since the last call, `elapsed` ago, with their values.
    pub(super) fn changed(&mut self, view: &View, elapsed: Duration) -> Vec<(String, String)> {
        let mut all = self.values(view, elapsed);
        all.retain(|(topic, value)| self.published.get(topic) != Some(value));
        self.published.extend(all.iter().cloned());
        all
    }

    fn values(&mut self, view: &View, elapsed: Duration) -> Vec<(String, String)> {
        let (counters, gauges) = view.sums();
        let mut values = Vec::new();
        let mut add = |topic: &str, value: String| values.push((format!("{PREFIX}{topic}"), value));
        add("version", format!("ringmq version {}", env!("CARGO_PKG_VERSION")));
        add("uptime", format!("{} seconds", view.process.uptime));
        for (metric, values) in view.values() {
            if !metric.sys_topic.is_empty() {
                add(metric.sys_topic, values.iter().sum::<u64>().to_string());
            }
        }
        let away = gauges.sessions.saturating_sub(gauges.clients_connected);
        self.sessions_max = self.sessions_max.max(gauges.sessions);
        let (sent, _) = counters.ways();
        let packets_sent = counters.responses_sent + sent;
        let stored = gauges.retained_messages + gauges.queued_messages + gauges.inflight_messages;
        for (topic, value) in [
            ("clients/maximum", self.sessions_max),
            ("clients/disconnected", away),
            ("clients/inactive", away),
            ("clients/active", gauges.clients_connected),
            ("messages/sent", packets_sent),
            ("messages/stored", stored),
            ("store/messages/count", stored),
            ("store/messages/bytes", view.process.messages_kept + gauges.retained_bytes()),
            ("packet/out/count", gauges.queued_messages),
            ("packet/out/bytes", gauges.queued_bytes),
        ] {
            add(topic, value.to_string());
        }
        let loads = [
            ("messages/received", counters.packets_received),
            ("messages/sent", packets_sent),
            ("publish/dropped", counters.messages_dropped.iter().sum()),
            ("publish/received", counters.publishes_received.iter().sum()),
            ("publish/sent", sent),
            ("bytes/received", counters.received_bytes),
            ("bytes/sent", counters.sent_bytes),
            ("sockets", counters.connections_opened.iter().sum()),
            ("connections", counters.connects_accepted.iter().sum()),
        ];
        for (load, (topic, count)) in self.loads.iter_mut().zip(loads) {
            for ((_, span), rate) in MINUTES.iter().zip(load.update(count, elapsed)) {
                add(&format!("load/{topic}/{span}"), format!("{rate:.2}"));
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Process;

    /// The topics of Mosquitto 2.1, without those of bridges.
    const MOSQUITTO: &str = "version uptime clients/total clients/maximum clients/disconnected \
        clients/inactive clients/connected clients/active clients/expired messages/stored \
        messages/received messages/sent store/messages/count store/messages/bytes \
        subscriptions/count shared_subscriptions/count retained_messages/count bytes/received \
        bytes/sent publish/bytes/received publish/bytes/sent publish/messages/dropped \
        publish/messages/received publish/messages/sent packet/out/count packet/out/bytes \
        connections/socket/count";

    #[test]
    fn every_topic_of_mosquitto_is_there_once() {
        let all = SysTopics::default().changed(&View::default(), Duration::from_secs(10));
        let topics: Vec<_> = all.iter().map(|(topic, _)| topic.as_str()).collect();
        for topic in MOSQUITTO.split_whitespace() {
            let topic = topic.replace("retained_", "retained ");
            assert!(topics.contains(&&*format!("$SYS/broker/{topic}")), "{topic}");
        }
        let loads = topics.iter().filter(|topic| topic.starts_with("$SYS/broker/load/"));
        assert_eq!(loads.count(), 27);
        let unique: std::collections::BTreeSet<_> = topics.iter().collect();
        assert_eq!(unique.len(), topics.len());
    }

    #[test]
    fn a_value_is_published_again_only_when_it_changes() {
        let mut topics = SysTopics::default();
        topics.changed(&View::default(), Duration::from_secs(10));
        assert!(topics.changed(&View::default(), Duration::from_secs(10)).is_empty());
        let process = Process { uptime: 7, ..Process::default() };
        let later = View { process, ..View::default() };
        let changed = topics.changed(&later, Duration::from_secs(10));
        assert_eq!(changed, [("$SYS/broker/uptime".into(), "7 seconds".into())]);
    }
}
