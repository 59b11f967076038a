//! The shard that the micro-benchmarks drive does what they take it to do.

#[path = "../benches/hot_loop/mod.rs"]
mod hot_loop;

use hot_loop::{HotLoop, PUBLISHES};
use ringmq_mqtt::QoS;

#[test]
fn every_subscriber_gets_every_publish() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut hot = HotLoop::new(10, qos);
        let each = 73 + if qos == QoS::AtMostOnce { 0 } else { 2 };
        let acks = if qos == QoS::AtMostOnce { 0 } else { 4 * usize::from(PUBLISHES) };
        for _ in 0..1100 {
            let deliveries = hot.deliveries_per_turn() as usize;
            assert_eq!(hot.turn(), deliveries * each + acks);
        }
    }
}
