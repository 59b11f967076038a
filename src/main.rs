//! Starts the broker.
#![forbid(unsafe_code)]

use mimalloc::MiMalloc;
use ringmq::io::memory::Counted;

#[global_allocator]
static ALLOCATOR: Counted<MiMalloc> = Counted(MiMalloc);

fn main() -> std::process::ExitCode {
    ringmq::server::main()
}
