//! The making of a ring, and the kernel's refusals in one line each.
#![forbid(unsafe_code)]

use crate::limits;
use io_uring::{IoUring, Probe, opcode};
use std::{fmt, io};

/// The way of a ring to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingEngine {
    /// io_uring: the kernel completes requests, many with one call.
    IoUring,
    /// Readiness: the kernel says which sockets are ready (epoll), and each is called.
    Poll,
}

/// The sizes of a ring's queues and buffers.
#[derive(Debug, Clone, Copy)]
pub struct RingSizes {
    /// Submission entries, a power of two.
    pub submissions: u32,
    /// Completion entries, a power of two above `submissions`.
    pub completions: u32,
    /// Receive buffers, a power of two up to 2¹⁵.
    pub buffers: u16,
    /// Bytes of one receive buffer.
    pub buffer_bytes: u32,
}

impl RingSizes {
    /// The next smaller sizes; None when there are none. Submissions and completions beyond a
    /// queue's size wait, so that a small ring costs time only.
    #[must_use]
    pub(crate) fn smaller(self) -> Option<Self> {
        let submissions = self.submissions / 2;
        let completions = self.completions / 2;
        // Receives alone do not overflow the completions.
        let buffers = u32::from(self.buffers).min(completions / 4) as u16;
        let smaller = Self { submissions, completions, buffers, ..self };
        (submissions >= limits::SUBMISSIONS_MIN).then_some(smaller)
    }

    /// The bytes of locked memory that the kernel counts for one ring; the kernel may count more.
    #[must_use]
    pub(crate) fn locked_bytes(self) -> usize {
        const PAGE: usize = 4096;
        // Of 64, 16 and 16 bytes each; the heads of the queues, and the array of submissions that
        // kernels before 6.6 want.
        let submissions = self.submissions as usize * 64;
        let queues = self.completions as usize * 16 + self.submissions as usize * 4 + PAGE;
        let buffers = usize::from(self.buffers) * 16;
        [submissions, queues, buffers].iter().map(|bytes| bytes.next_multiple_of(PAGE)).sum()
    }
}

impl Default for RingSizes {
    fn default() -> Self {
        Self {
            submissions: limits::SUBMISSIONS,
            completions: limits::COMPLETIONS,
            buffers: limits::RECEIVE_BUFFERS,
            buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
        }
    }
}

/// The cause of a ring's absence. Each error names its cause and the remedy.
#[derive(Debug)]
pub enum RingError {
    /// `EPERM`: io_uring is switched off.
    Forbidden,
    /// `ENOSYS`: this kernel or container has no io_uring.
    Missing,
    /// `EINVAL`, or operations are missing: the kernel is older than 6.1.
    Old,
    /// `ENOMEM`: no memory for the queues.
    Memory,
    /// `EMFILE` or `ENFILE`: no descriptor for the ring or the files that it watches.
    Descriptors,
    /// Anything else.
    Other(io::Error),
}

impl From<io::Error> for RingError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            Some(libc::ENOSYS) => Self::Missing,
            Some(libc::EINVAL) => Self::Old,
            Some(libc::ENOMEM) => Self::Memory,
            Some(libc::EMFILE | libc::ENFILE) => Self::Descriptors,
            _ => Self::Other(error),
        }
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Forbidden => {
                "io_uring is not permitted here (EPERM): set the sysctl kernel.io_uring_disabled \
                 to 0, or allow io_uring_setup, io_uring_enter and io_uring_register in the \
                 container's seccomp profile"
            }
            Self::Missing => {
                "io_uring is missing (ENOSYS): the kernel was built without it, or a sandbox hides \
                 it; run on Linux 6.1 or newer with CONFIG_IO_URING"
            }
            Self::Old => {
                "the kernel's io_uring lacks what ringmq needs (EINVAL): run on Linux 6.1 or newer"
            }
            Self::Memory => {
                "no memory for io_uring (ENOMEM): raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=) \
                 or the container's memory limit, or run fewer --workers"
            }
            Self::Descriptors => {
                "no descriptor left for io_uring or its listeners (EMFILE): raise the limit of \
                 open files (ulimit -n, LimitNOFILE=)"
            }
            Self::Other(_) => "io_uring cannot start",
        })
    }
}

impl std::error::Error for RingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Other(error) => Some(error),
            _ => None,
        }
    }
}

/// Features of this kernel that a ring uses beyond those that ringmq needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    /// True for submissions without an index array (Linux 6.6).
    pub no_submission_array: bool,
}

/// The features of this kernel, if this process may have a ring and the kernel has every operation.
///
/// # Errors
/// The kernel's refusal, or its age.
pub(crate) fn probe() -> Result<Features, RingError> {
    let (ring, features) = build(8, 16)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let needed = [
        opcode::RecvMulti::CODE,
        opcode::Send::CODE,
        opcode::SendMsg::CODE,
        opcode::AsyncCancel::CODE,
        opcode::PollAdd::CODE,
    ];
    if needed.iter().all(|&code| probe.is_supported(code)) {
        return Ok(features);
    }
    Err(RingError::Old)
}

/// A ring for the calling thread alone.
pub(super) fn build(submissions: u32, completions: u32) -> Result<(IoUring, Features), RingError> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(completions)
        .dontfork();
    let mut newest = builder.clone();
    newest.setup_no_sqarray();
    match newest.build(submissions) {
        Ok(ring) => Ok((ring, Features { no_submission_array: true })),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Ok((builder.build(submissions)?, Features { no_submission_array: false }))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::causes;

    /// T20: each refusal is one line that names its cause and the fix.
    #[test]
    fn every_refusal_is_one_line() {
        for code in [libc::EPERM, libc::ENOSYS, libc::EINVAL, libc::ENOMEM, libc::EMFILE, libc::EIO]
        {
            let line = causes::line(&RingError::from(io::Error::from_raw_os_error(code)));
            assert!(!line.contains('\n') && line.contains("io_uring"), "{line}");
        }
    }

    #[test]
    fn smaller_rings_lock_less_down_to_the_smallest() {
        let sizes: Vec<_> =
            std::iter::successors(Some(RingSizes::default()), |sizes| sizes.smaller()).collect();
        assert!(sizes.windows(2).all(|pair| pair[1].locked_bytes() < pair[0].locked_bytes()));
        let last = sizes.last().unwrap();
        assert_eq!(last.submissions, limits::SUBMISSIONS_MIN);
        assert!(last.buffers.is_power_of_two() && last.locked_bytes() < 32 * 1024, "{last:?}");
    }

    #[test]
    fn this_kernel_has_a_ring() {
        probe().expect("a kernel from 6.1 on that permits io_uring");
    }
}
