//! Distinguished names as text, as OpenSSL's `XN_FLAG_RFC2253` prints them.

use std::fmt::Write;
use x509_parser::asn1_rs::{Any, Tag, ToDer};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The short names that OpenSSL prints for common attributes of subjects. An attribute of unknown
/// type is printed with its number and, in hexadecimal, its value.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.16", "postalAddress"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.18", "postOfficeBox"),
    ("2.5.4.20", "telephoneNumber"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.45", "x500UniqueIdentifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.3", "mail"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.2", "unstructuredName"),
    ("1.2.840.113549.1.9.8", "unstructuredAddress"),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL"),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
];

/// The whole name, most specific attribute first. None when a value cannot be encoded again.
pub(super) fn rfc2253(name: &X509Name<'_>) -> Option<String> {
    let mut text = String::new();
    let sets: Vec<_> = name.iter_rdn().collect();
    for set in sets.into_iter().rev() {
        let attributes: Vec<_> = set.iter().collect();
        for (position, attribute) in attributes.into_iter().rev().enumerate() {
            if !text.is_empty() {
                text.push(if position == 0 { ',' } else { '+' });
            }
            write_attribute(attribute, &mut text)?;
        }
    }
    Some(text)
}

/// The common name, when there is exactly one, in text without NUL.
pub(super) fn common_name(name: &X509Name<'_>) -> Option<Box<str>> {
    let mut names = name.iter_common_name();
    let only = names.next().filter(|_| names.next().is_none())?;
    let text = String::from_utf8(utf8(only.attr_value())?).ok()?;
    (!text.is_empty() && !text.contains('\0')).then(|| text.into())
}

fn write_attribute(attribute: &AttributeTypeAndValue<'_>, text: &mut String) -> Option<()> {
    let number = attribute.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(known, _)| *known == number).map(|(_, short)| *short);
    text.push_str(short.unwrap_or(&number));
    text.push('=');
    match short.and_then(|_| utf8(attribute.attr_value())) {
        Some(value) => write_escaped(&value, text),
        None => write_der(attribute.attr_value(), text)?,
    }
    Some(())
}

/// A string's characters in UTF-8; none when the value is no string.
fn utf8(value: &Any<'_>) -> Option<Vec<u8>> {
    let from_chars = |chars: Vec<char>| Some(chars.into_iter().collect::<String>().into_bytes());
    match value.tag() {
        Tag::Utf8String => Some(value.data.to_vec()),
        Tag::NumericString
        | Tag::PrintableString
        | Tag::T61String
        | Tag::Ia5String
        | Tag::UtcTime
        | Tag::GeneralizedTime
        | Tag::VisibleString => {
            from_chars(value.data.iter().map(|byte| char::from(*byte)).collect())
        }
        Tag::BmpString => {
            let (units, []) = value.data.as_chunks::<2>() else { return None };
            let point = |unit: &[u8; 2]| char::from_u32(u16::from_be_bytes(*unit).into());
            from_chars(units.iter().map(point).collect::<Option<_>>()?)
        }
        Tag::UniversalString => {
            let (units, []) = value.data.as_chunks::<4>() else { return None };
            let point = |unit: &[u8; 4]| char::from_u32(u32::from_be_bytes(*unit));
            from_chars(units.iter().map(point).collect::<Option<_>>()?)
        }
        _ => None,
    }
}

/// Writes a value so that its text can be read back in one way only: characters with a meaning in
/// the text form get a backslash, and non-printable or non-ASCII bytes become hexadecimal.
fn write_escaped(value: &[u8], text: &mut String) {
    for (at, &byte) in value.iter().enumerate() {
        let is_edge_space = byte == b' ' && (at == 0 || at + 1 == value.len());
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => text.extend(['\\', byte as char]),
            b'#' if at == 0 => text.push_str("\\#"),
            b' ' if is_edge_space => text.push_str("\\ "),
            b' '..=b'~' => text.push(byte as char),
            _ => write_hex(byte, "\\", text),
        }
    }
}

fn write_der(value: &Any<'_>, text: &mut String) -> Option<()> {
    text.push('#');
    value.to_der_vec().ok()?.into_iter().for_each(|byte| write_hex(byte, "", text));
    Some(())
}

fn write_hex(byte: u8, before: &str, text: &mut String) {
    write!(text, "{before}{byte:02X}").expect("a string takes whatever is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use x509_parser::prelude::FromDer;

    const CN: &[u8] = &[0x55, 4, 3];
    const O: &[u8] = &[0x55, 4, 10];
    const UTF8: u8 = 12;
    const PRINTABLE: u8 = 19;

    type Attribute = (&'static [u8], u8, Vec<u8>);

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("a short name");
        let head = if length < 128 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [head, content.to_vec()].concat()
    }

    fn name(sets: &[Vec<Attribute>]) -> Vec<u8> {
        let attribute =
            |(oid, tag, value): &Attribute| tlv(0x30, &[tlv(6, oid), tlv(*tag, value)].concat());
        let set = |set: &Vec<Attribute>| {
            tlv(0x31, &set.iter().map(attribute).collect::<Vec<_>>().concat())
        };
        tlv(0x30, &sets.iter().map(set).collect::<Vec<_>>().concat())
    }

    fn text(sets: &[Vec<Attribute>]) -> Option<String> {
        let der = name(sets);
        let (_, name) = X509Name::from_der(&der).ok()?;
        rfc2253(&name)
    }

    fn common(sets: &[Vec<Attribute>]) -> Option<Box<str>> {
        let der = name(sets);
        common_name(&X509Name::from_der(&der).unwrap().1)
    }

    fn cn(value: &str) -> Attribute {
        (CN, UTF8, value.into())
    }

    #[test]
    fn sets_are_joined_and_the_order_is_turned() {
        let o = (O, PRINTABLE, b"o".to_vec());
        assert_eq!(text(&[vec![o.clone()], vec![cn("a"), cn("b")]]).unwrap(), "CN=b+CN=a,O=o");
        let number = (CN, 2, vec![5]);
        assert_eq!(text(&[vec![number], vec![o]]).unwrap(), "O=o,CN=#020105");
        assert_eq!(text(&[]).unwrap(), "");
    }

    #[test]
    fn one_common_name_is_one_wherever_they_stand() {
        assert_eq!(common(&[vec![cn("a")]]).as_deref(), Some("a"));
        assert_eq!(common(&[vec![cn("a")], vec![cn("a")]]), None);
        assert_eq!(common(&[vec![cn("a"), cn("b")]]), None);
        assert_eq!(common(&[vec![(CN, UTF8, vec![0xff])]]), None);
        assert_eq!(common(&[vec![(CN, 2, vec![5])]]), None);
        assert_eq!(common(&[vec![(CN, 30, vec![0, b'a'])]]).as_deref(), Some("a"));
        assert_eq!(common(&[vec![(CN, 30, vec![0, b'a', 0])]]), None);
    }

    fn any_name() -> impl Strategy<Value = Vec<Vec<Attribute>>> {
        let byte = prop::sample::select(b"aCNO=,+#\\\" \0 2C".to_vec());
        let value = prop::collection::vec(byte, 0..4);
        let kind = prop::sample::select(vec![CN, O, &[0x2a, 3]]);
        let attribute = (kind, Just(UTF8), value);
        prop::collection::vec(prop::collection::vec(attribute, 1..3), 0..3)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn different_subjects_never_read_the_same(a in any_name(), b in any_name()) {
            prop_assert_eq!(a == b, text(&a).unwrap() == text(&b).unwrap());
        }
    }
}
