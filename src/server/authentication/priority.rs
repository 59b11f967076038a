//! The low priority of threads that hash.

use rustix::process::setpriority_process;

/// The lowest priority but idling, so that logins still end on a busy machine.
const NICE: i32 = 19;

/// Lets every other thread of the process go first; has no effect where the kernel forbids it.
pub(super) fn give_way() {
    // On Linux no process stands for the calling thread.
    let _ = setpriority_process(None, NICE);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nice() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
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
