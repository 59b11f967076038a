//! The load generator of ringmq.
fn main() {}
