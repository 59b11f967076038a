//! Runs one seed of the simulator.

fn main() {}
