//! The version of the kernel.

use super::failure::Failure;

/// The kernel's release, for example `6.12.3`; unknown without `/proc`.
pub(super) fn release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// Refuses a kernel that is too old for io_uring as it is used here. Where the release is unknown,
/// the ring's own probe decides.
pub(super) fn check() -> Result<(), Failure> {
    let release = release();
    match version(&release) {
        Some(version) if version < OLDEST => Err(Failure::start(format!(
            "Linux {release} is too old for io_uring: run on Linux {}.{} or newer",
            OLDEST.0, OLDEST.1
        ))),
        _ => Ok(()),
    }
}

/// The first kernel with `IORING_SETUP_DEFER_TASKRUN`.
const OLDEST: (u32, u32) = (6, 1);

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_all_kinds_are_read() {
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("5.15.0"), Some((5, 15)));
        assert_eq!(version("6.18-rc1"), Some((6, 18)));
        assert_eq!(version("unknown"), None);
    }
}
