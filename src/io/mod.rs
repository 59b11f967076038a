//! The kernel and nothing else: one ring per worker, its buffers, sockets, wake-ups and the clock.
//!
//! [`ring::Ring`] is safe to use: the ring owns or borrows all memory that the kernel reads or
//! writes, until the kernel has finished with it. Its engine is io_uring where that is permitted,
//! and readiness by epoll elsewhere. All `unsafe` blocks of the broker are in `buffers`, `iovecs`,
//! `memory`, `pages`, `passed`, `poll`, `send`, `socket` and `uring`.

pub(crate) mod buffers;
pub mod clock;
pub mod event;
mod iovecs;
pub mod listeners;
pub mod memory;
pub(crate) mod pages;
pub(crate) mod passed;
pub mod poll;
pub mod ring;
mod send;
pub mod setup;
pub mod socket;
mod token;
pub mod uring;
pub mod wake;
