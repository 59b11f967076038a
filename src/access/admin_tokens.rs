//! The tokens of operators.

use crate::base::operator_file::{self, Unreadable};
use crate::base::random;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::path::Path;
use subtle::ConstantTimeEq;

/// The fewest characters of a token: nobody may find one by trying.
const TOKEN_MIN: usize = 16;

/// The most bytes of a token file.
const FILE_MAX: u64 = 64 * 1024;

/// The rights of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// See everything.
    Reading,
    /// See and change everything.
    Full,
}

/// The tokens that are accepted.
#[derive(Clone)]
pub struct Tokens(Vec<(String, Trust)>);

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tokens({})", self.0.len())
    }
}

impl Tokens {
    /// One token that nobody can guess.
    #[must_use]
    pub fn random() -> Self {
        let token = URL_SAFE_NO_PAD.encode(random::bytes::<24>());
        Self(vec![(token, Trust::Full)])
    }

    /// Reads a file with a token on each line; those behind the word `read` change nothing. Lines
    /// that begin with `#` are comments.
    ///
    /// # Errors
    /// The cause and the fix in words, without a token.
    pub fn read(path: &Path) -> Result<(Self, Option<String>), String> {
        let name = path.display();
        let contents = operator_file::read(path, FILE_MAX)
            .map_err(|error: Unreadable| format!("{name}: cannot read the tokens: {error}"))?;
        let warning = contents.is_public().then(|| {
            format!("{name}: every user of this machine can read the tokens; use chmod 600")
        });
        let text = String::from_utf8(contents.bytes)
            .map_err(|_| format!("{name}: the tokens are not text"))?;
        let mut tokens = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (token, trust) = match line.strip_prefix("read ") {
                Some(token) => (token.trim(), Trust::Reading),
                None => (line, Trust::Full),
            };
            let is_token = token.len() >= TOKEN_MIN && token.bytes().all(|b| b.is_ascii_graphic());
            if !is_token {
                return Err(format!(
                    "{name}:{}: a token has at least {TOKEN_MIN} characters, of ASCII and without \
                     spaces; `openssl rand -base64 24` makes one",
                    index + 1
                ));
            }
            tokens.push((token.to_owned(), trust));
        }
        if tokens.is_empty() {
            return Err(format!("{name}: there is no token; `openssl rand -base64 24` makes one"));
        }
        Ok((Self(tokens), warning))
    }

    /// The rights of whoever shows this token; None for a token that is not accepted. The time that
    /// the look takes does not tell how near the token is.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<Trust> {
        let mut found = None;
        for (known, trust) in &self.0 {
            if bool::from(known.as_bytes().ct_eq(token.as_bytes())) {
                found = Some(*trust);
            }
        }
        found
    }

    /// The first token, whatever it may.
    #[must_use]
    pub fn any(&self) -> Option<&str> {
        self.0.first().map(|(token, _)| &**token)
    }

    /// The first token that may change something, for whoever owns the broker.
    #[must_use]
    pub fn full(&self) -> Option<&str> {
        self.0.iter().find(|(_, trust)| *trust == Trust::Full).map(|(token, _)| &**token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_tokens_for_reading_and_for_everything() {
        let path = std::env::temp_dir().join(format!("ringmq-tokens-{}", std::process::id()));
        std::fs::write(&path, "# ours\nread 0123456789abcdef\n\nfedcba9876543210\n").unwrap();
        let (tokens, _) = Tokens::read(&path).unwrap();
        assert_eq!(tokens.find("0123456789abcdef"), Some(Trust::Reading));
        assert_eq!(tokens.find("fedcba9876543210"), Some(Trust::Full));
        assert_eq!(tokens.find("fedcba987654321"), None);
        assert_eq!(tokens.find(""), None);
        assert_eq!(tokens.full(), Some("fedcba9876543210"));
        for (text, fault) in [("short\n", ":1: a token has"), ("# none\n", "there is no token")] {
            std::fs::write(&path, text).unwrap();
            let error = Tokens::read(&path).unwrap_err();
            assert!(error.contains(fault) && !error.contains("short"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_ne!(Tokens::random().full(), Tokens::random().full());
        assert!(!format!("{:?}", Tokens::random()).contains(Tokens::random().full().unwrap()));
    }
}
