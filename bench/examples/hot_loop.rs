//! So many turns of the hot loop and nothing else, for callgrind: `hot_loop QOS SUBSCRIBERS TURNS`.

use ringmq::mqtt::QoS;
use ringmq_bench::hot_loop::HotLoop;

fn main() {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    let [qos, subscribers, turns] = numbers[..] else {
        eprintln!("usage: hot_loop QOS SUBSCRIBERS TURNS");
        std::process::exit(2);
    };
    let qos = QoS::from_bits(qos as u8).expect("a QoS of 0 or 1");
    let mut hot = HotLoop::new(subscribers, qos);
    let sent: usize = (0..turns).map(|_| hot.turn()).sum();
    println!("{sent} bytes");
}
