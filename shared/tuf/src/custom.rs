//! A target's custom metadata (TUF specification 4.5, `custom`): a JSON object of at most 2 KB which every client writes
//! in the same canonical form.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::refusal::{Refusal, RefusalCode};

/// The most bytes that an upload's custom metadata may take: S3 allows 2 KB of user metadata in all
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>).
pub const LONGEST_CUSTOM: usize = 2048;

/// Integers beyond ±(2^53−1) are not read back the same by every JSON implementation (RFC 8259, section 6).
const LARGEST_INTEGER: i64 = (1 << 53) - 1;

/// Custom metadata that keeps the policy. Empty means that the target has none.
pub type Custom = BTreeMap<String, Value>;

/// Reads `text` as custom metadata.
///
/// # Errors
/// Refuses what is not a JSON object, is longer than 2 KB, or would have different canonical bytes in different clients:
/// floats, integers beyond ±(2^53−1), keys that aren't printable ASCII or stand twice, strings that aren't in the
/// normal form NFC or have control characters.
pub fn parse(text: &str) -> Result<Custom, Refusal> {
    let refuse = |why: String| Refusal::new(RefusalCode::Custom, format!("custom metadata refused: {why}"));
    if text.len() > LONGEST_CUSTOM {
        return Err(refuse(format!(
            "it has {} bytes and at most {LONGEST_CUSTOM} are allowed; shorten it",
            text.len()
        )));
    }
    let value: Strict =
        serde_json::from_str(text).map_err(|error| refuse(format!("it is not usable JSON: {error}")))?;
    let Value::Object(object) = value.0 else {
        return Err(refuse("it is not a JSON object; write {\"key\": value, …}".into()));
    };
    check_object(&object).map_err(refuse)?;
    Ok(object.into_iter().collect())
}

fn check(value: &Value) -> Result<(), String> {
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::Number(number) => check_number(number),
        Value::String(string) => check_string(string),
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Object(object) => check_object(object),
    }
}

fn check_object(object: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in object {
        if let Some(character) = key.chars().find(|character| !matches!(character, ' '..='~')) {
            return Err(format!("the key {key:?} has the character {character:?}; use printable ASCII in keys"));
        }
        check(value)?;
    }
    Ok(())
}

fn check_number(number: &Number) -> Result<(), String> {
    match number.as_i64() {
        Some(integer) if (-LARGEST_INTEGER..=LARGEST_INTEGER).contains(&integer) => Ok(()),
        _ => Err(format!("{number} is not an integer within ±(2^53-1); write it as a string")),
    }
}

fn check_string(string: &str) -> Result<(), String> {
    if let Some(character) = string.chars().find(|character| character.is_control()) {
        return Err(format!("a string has the control character {character:?}; remove it"));
    }
    if !unicode_normalization::is_nfc(string) {
        return Err(format!("the string {string:?} is not in Unicode normal form C; normalise it"));
    }
    Ok(())
}

/// A JSON value in which no object has a key twice: readers differ in which of the two they keep.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, _>()? {
            if object.contains_key(&key) {
                return Err(de::Error::custom(format!("the key {key:?} stands twice")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn objects_of_plain_values_are_accepted() {
        let text = r#"{"version": "1.2.3", "size": -9007199254740991, "tags": ["a", null, true, {"é": 1}]}"#;
        assert!(parse(text).is_err(), "a key outside ASCII is refused");
        let custom = parse(r#"{"version": "1.2.3é", "size": -9007199254740991, "tags": ["a", null, true]}"#).unwrap();
        assert_eq!(custom.len(), 3);
        assert!(parse("{}").unwrap().is_empty());
    }

    #[test]
    fn what_clients_read_differently_is_refused() {
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(LONGEST_CUSTOM));
        for text in [
            "",
            "null",
            "[]",
            "1",
            "\"a\"",
            "{",
            r#"{"a":1.5}"#,
            r#"{"a":1e3}"#,
            r#"{"a":9007199254740992}"#,
            r#"{"a":-9007199254740992}"#,
            r#"{"a":18446744073709551616}"#,
            r#"{"a":"e\u0301"}"#,
            r#"{"a":"\n"}"#,
            r#"{"a":"\u0000"}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"\u00e9":1}"#,
            r#"{"a":NaN}"#,
            &long,
        ] {
            let refusal = parse(text).unwrap_err();
            assert_eq!(refusal.code, RefusalCode::Custom, "{text:?}");
            assert!(!refusal.reason.contains('\n'), "one line: {:?}", refusal.reason);
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_reads_back_the_same(text in r#"\{"[a-c]":("\PC{0,8}"|-?[0-9]{1,18}|\[\]|null),"[d-f]":[0-9.]{1,4}\}"#) {
            if let Ok(custom) = parse(&text) {
                let written = String::from_utf8(crate::json::to_vec(&custom).unwrap()).unwrap();
                prop_assert_eq!(parse(&written).unwrap(), custom);
            }
        }
    }
}
