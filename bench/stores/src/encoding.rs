//! How messages and recipients become bytes: varints of seven bits a byte, lowest first.

use crate::store::Contents;

/// Appends a varint.
pub(crate) fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Takes a varint off the front; `None` if it is cut short.
pub(crate) fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Appends a message and its recipients, whose numbers ascend:
///
/// ```text
/// ┌────────────────┬─────────┬─────────────────┬───────────────────────────────────┐
/// │ message length │ message │ recipient count │ first recipient, then differences │
/// └────────────────┴─────────┴─────────────────┴───────────────────────────────────┘
/// ```
pub(crate) fn put_message(to: &mut Vec<u8>, message: &[u8], recipients: &[u32]) {
    put_varint(to, message.len() as u64);
    to.extend_from_slice(message);
    put_varint(to, recipients.len() as u64);
    let mut before = 0;
    for &recipient in recipients {
        put_varint(to, u64::from(recipient - before));
        before = recipient;
    }
}

/// Takes off what `put_message` wrote, leaves what follows it. Recipients replace what is in the
/// list. Returns the message.
pub(crate) fn take_message<'a>(from: &mut &'a [u8], recipients: &mut Vec<u32>) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(from)?).ok()?;
    let (message, rest) = from.split_at_checked(length)?;
    *from = rest;
    recipients.clear();
    let mut recipient = 0;
    for _ in 0..take_varint(from)? {
        recipient += u32::try_from(take_varint(from)?).ok()?;
        recipients.push(recipient);
    }
    Some(message)
}

/// Counts a message whose recipients without those in `acknowledged` remain. Both lists ascend.
pub(crate) fn count_remaining(
    contents: &mut Contents,
    number: u64,
    message: &[u8],
    recipients: &[u32],
    acknowledged: &[u32],
) {
    contents.add_message(message);
    let mut acknowledged = acknowledged.iter().peekable();
    for recipient in recipients {
        if acknowledged.next_if_eq(&recipient).is_none() {
            contents.add_recipient(number, *recipient);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_was() {
        let mut bytes = Vec::new();
        put_message(&mut bytes, b"message", &[0, 1, 300, u32::MAX]);
        put_varint(&mut bytes, u64::MAX);
        let mut rest = &bytes[..];
        let mut recipients = Vec::new();
        assert_eq!(take_message(&mut rest, &mut recipients), Some(&b"message"[..]));
        assert_eq!(recipients, [0, 1, 300, u32::MAX]);
        assert_eq!(take_varint(&mut rest), Some(u64::MAX));
        assert!(rest.is_empty());
        for length in 0..bytes.len() - 10 {
            assert_eq!(take_message(&mut &bytes[..length], &mut recipients), None);
        }
    }
}
