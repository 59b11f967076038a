//! So many turns of the hot loop and nothing else, for callgrind: `hot_loop QOS SUBSCRIBERS TURNS`.

#[path = "../benches/hot_loop/mod.rs"]
mod hot_loop;

use hot_loop::HotLoop;
use ringmq_mqtt::QoS;

fn main() {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    let [qos, subscribers, turns] = numbers[..] else {
        eprintln!("usage: hot_loop QOS SUBSCRIBERS TURNS");
        std::process::exit(2);
    };
    let qos = QoS::from_bits(qos as u8).expect("a QoS of 0 or 1");
    let mut hot = HotLoop::new(subscribers, qos);
    let sent: usize = (0..turns).map(|_| hot.turn()).sum();
    println!("{sent} bytes for {} deliveries", u64::from(turns) * hot.deliveries_per_turn());
}
