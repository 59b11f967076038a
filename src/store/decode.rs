//! Reads records, and tells why a record cannot be read.

use super::record::{Body, Record};
use std::fmt;

/// The reason for which bytes with a right checksum are no record: a newer version wrote them, or
/// they were written wrongly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// A newer version wrote a record of this kind.
    UnknownKind(u32),
    /// The bytes end within the record.
    TooShort,
    /// So many bytes stand behind the record.
    TrailingBytes(usize),
    /// A topic, a filter or a name is not UTF-8.
    NotUtf8,
    /// A number is longer than its field allows.
    NumberTooLong,
    /// A byte that says whether something is there, or true, is neither 0 nor 1.
    NotBoolean,
    /// A message's topic and properties are longer than the message.
    WrongLengths,
    /// Any other reason of the encoding's own.
    Encoding(postcard::Error),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UnknownKind(kind) => {
                return write!(
                    formatter,
                    "its kind, {kind}, is not known to this version: a newer one wrote it"
                );
            }
            Self::TrailingBytes(count) => {
                return write!(formatter, "bytes that are no part of it stand behind it: {count}");
            }
            Self::TooShort => "it is too short",
            Self::NotUtf8 => "a text in it is not UTF-8",
            Self::NumberTooLong => "a number in it is too long",
            Self::NotBoolean => "a byte in it that has to be 0 or 1 is neither",
            Self::WrongLengths => "its topic and properties are longer than its message",
            Self::Encoding(_) => "its encoding is wrong",
        })
    }
}

impl std::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Encoding(error) => Some(error),
            _ => None,
        }
    }
}

impl DecodeError {
    /// The reason for which postcard refuses `bytes` with `error`.
    fn of(error: postcard::Error, bytes: &[u8]) -> Self {
        match error {
            // The kind is the only enum in a record, and nothing else has an error of serde's.
            postcard::Error::SerdeDeCustom => match postcard::take_from_bytes(bytes) {
                Ok((kind, _)) => Self::UnknownKind(kind),
                Err(error) => Self::Encoding(error),
            },
            postcard::Error::DeserializeUnexpectedEnd => Self::TooShort,
            postcard::Error::DeserializeBadUtf8 => Self::NotUtf8,
            postcard::Error::DeserializeBadVarint => Self::NumberTooLong,
            postcard::Error::DeserializeBadBool | postcard::Error::DeserializeBadOption => {
                Self::NotBoolean
            }
            error => Self::Encoding(error),
        }
    }
}

impl<'a> Record<'a> {
    /// The record that `bytes` hold, all of them.
    ///
    /// # Errors
    /// The bytes hold no record: a newer version wrote them, or they were written wrongly.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let record = match postcard::take_from_bytes(bytes) {
            Ok((record, [])) => record,
            Ok((_, behind)) => return Err(DecodeError::TrailingBytes(behind.len())),
            Err(error) => return Err(DecodeError::of(error, bytes)),
        };
        if let Self::Published(published) = &record
            && let Some(body) = &published.body
        {
            check(body)?;
        }
        Ok(record)
    }
}

/// Checks that the lengths of a message fit its bytes, and that its topic is text.
fn check(body: &Body<'_>) -> Result<(), DecodeError> {
    let (topic, properties) = (body.lengths.0 as usize, body.lengths.1 as usize);
    let (topic, rest) = body.bytes.split_at_checked(topic).ok_or(DecodeError::WrongLengths)?;
    std::str::from_utf8(topic).map_err(|_| DecodeError::NotUtf8)?;
    if rest.len() < properties { Err(DecodeError::WrongLengths) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::record::Published;
    use super::*;
    use crate::base::ids::{MessageId, SessionNumber};
    use std::borrow::Cow;

    /// The number of kinds: none has a greater one than this, less one.
    const KINDS: u8 = 12;

    fn encoded(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    fn refused(bytes: &[u8]) -> DecodeError {
        Record::decode(bytes).unwrap_err()
    }

    fn published(topic: &[u8], lengths: (u32, u32)) -> Vec<u8> {
        let body = Body {
            qos: 1,
            retain: false,
            expires: None,
            owner: None,
            lengths,
            bytes: Cow::Borrowed(topic),
        };
        let published = Published {
            message: MessageId(1),
            body: Some(body),
            retained: None,
            received: None,
            taken: None,
            groups: Vec::new(),
            others: Vec::new(),
        };
        encoded(&Record::Published(published))
    }

    #[test]
    fn a_kind_that_is_not_known_is_told_by_its_number_and_no_other_mistake_is_one() {
        assert_eq!(refused(&[KINDS, 1, 2]), DecodeError::UnknownKind(KINDS.into()));
        assert_eq!(refused(&[0xff, 0x7f]), DecodeError::UnknownKind(16_383));
        for kind in 0..KINDS {
            assert_eq!(refused(&[kind]), DecodeError::TooShort, "{kind}");
        }
        let line = refused(&[KINDS]).to_string();
        assert!(line.contains("12") && line.contains("newer"), "{line}");
    }

    #[test]
    fn bytes_that_end_within_the_record_are_too_short() {
        let whole = published(b"topic", (5, 0));
        for end in 0..whole.len() {
            assert_eq!(refused(&whole[..end]), DecodeError::TooShort, "{end}");
        }
    }

    #[test]
    fn bytes_behind_the_record_are_counted() {
        let longer = [encoded(&Record::Ended { session: SessionNumber(7) }), vec![0; 3]].concat();
        assert_eq!(refused(&longer), DecodeError::TrailingBytes(3));
    }

    #[test]
    fn text_that_is_not_utf_8_is_told_in_a_field_and_in_a_message() {
        let mut filter =
            encoded(&Record::Unsubscribed { session: SessionNumber(7), filter: "a/b".into() });
        *filter.last_mut().unwrap() = 0xff;
        assert_eq!(refused(&filter), DecodeError::NotUtf8);
        assert_eq!(refused(&published(b"topi\xff", (5, 0))), DecodeError::NotUtf8);
    }

    #[test]
    fn a_number_that_does_not_fit_its_field_is_too_long() {
        let ended = encoded(&Record::Ended { session: SessionNumber(7) });
        assert_eq!(refused(&[&ended[..1], &[0xff; 11]].concat()), DecodeError::NumberTooLong);
        assert_eq!(refused(&[0xff; 6]), DecodeError::NumberTooLong, "the kind itself");
    }

    #[test]
    fn a_byte_that_is_neither_0_nor_1_is_told_where_it_has_to_be_one_of_them() {
        let whole = published(b"topic", (5, 0));
        // Kind, message, then whether there is a body; in that QoS, then RETAIN.
        for at in [2, 4] {
            let mut wrong = whole.clone();
            wrong[at] = 2;
            assert_eq!(refused(&wrong), DecodeError::NotBoolean, "{at}");
        }
    }

    #[test]
    fn lengths_that_a_message_has_not_are_told() {
        for lengths in [(6, 0), (0, 6), (5, 1), (u32::MAX, u32::MAX)] {
            assert_eq!(refused(&published(b"topic", lengths)), DecodeError::WrongLengths);
        }
        assert!(Record::decode(&published(b"topic", (3, 2))).is_ok());
    }
}
