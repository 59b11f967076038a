//! A thread that gives way.

/// The lowest priority but idling, so that logins still end on a busy machine.
const NICE: libc::c_int = 19;

/// Lets every other thread of the process go first; without effect where the kernel forbids it.
pub(super) fn give_way() {
    // SAFETY: `setpriority` takes no pointers. On Linux 0 is the calling thread, not the process.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nice() -> libc::c_int {
        // SAFETY: takes no pointers.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn only_the_calling_thread_gives_way() {
        let before = nice();
        let within = std::thread::spawn(|| {
            give_way();
            nice()
        });
        assert_eq!(within.join().unwrap(), NICE);
        assert_eq!(nice(), before);
    }
}
