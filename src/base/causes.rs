//! An error and the causes behind it, in one line.

use std::error::Error;

/// The text of `error` and of each cause behind it, each once: `error: cause: cause`.
#[must_use]
pub fn line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;
    use std::io;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn every_cause_stands_in_the_line_once() {
        let inner = || io::Error::other("inner");
        assert_eq!(line(&inner()), "inner");
        assert_eq!(line(&Outer(inner())), "outer: inner");
        assert_eq!(line(&Outer(io::Error::other(Outer(inner())))), "outer: outer: inner");
    }
}
