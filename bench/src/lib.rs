//! What the micro-benchmarks share. The load generator itself is a program: see `main.rs`.
#![forbid(unsafe_code)]

pub mod hot_loop;
