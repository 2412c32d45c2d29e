//! A target's custom metadata (TUF specification 4.5, `custom`): a JSON object of at most 2 KB, of
//! which every client writes the same canonical form.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use tufline_metadata::canonical;

use super::rejection::{Rejection, RejectionCode};

/// The most bytes that an upload's custom metadata may take. S3 allows 2 KB of user metadata in all
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>).
pub const LONGEST_CUSTOM: usize = 2048;

/// How many levels deep custom metadata may be nested, counting the object itself. A targets file
/// has it four levels down and a manifest five. Clients read files of up to
/// [`canonical::DEEPEST_FILE`] levels.
pub const DEEPEST_CUSTOM: usize = canonical::DEEPEST_FILE - 5;

/// Custom metadata that keeps the policy of this module. An empty map means that the target has
/// none.
pub type Custom = BTreeMap<String, Value>;

/// Reads `text` as custom metadata.
///
/// # Errors
/// Refuses text that is not a JSON object, is longer than 2 KB, repeats a key, or that clients
/// would not all read alike ([`check`]).
pub fn parse(text: &str) -> Result<Custom, Rejection> {
    if text.len() > LONGEST_CUSTOM {
        return Err(refuse(&format!(
            "it has {} bytes and at most {LONGEST_CUSTOM} are allowed; shorten it",
            text.len()
        )));
    }
    let value: Strict = serde_json::from_str(text)
        .map_err(|error| refuse(&format!("it is not usable JSON: {error}")))?;
    let Value::Object(object) = value.0 else {
        return Err(refuse("it is not a JSON object; write {\"key\": value, …}"));
    };
    let custom = object.into_iter().collect();
    check(&custom)?;
    Ok(custom)
}

/// Checks that all clients read `custom` alike and write the same canonical form of it. If they
/// didn't, some of them would find no valid signature on the document that contains it.
///
/// # Errors
/// A [`Rejection`] that names the key or value and says what to do.
pub fn check<C: Serialize>(custom: &C) -> Result<(), Rejection>
where
    for<'a> &'a C: IntoIterator<Item = (&'a String, &'a Value)>,
{
    let depth = 1 + custom.into_iter().map(|(_, value)| depth(value)).max().unwrap_or(0);
    if depth > DEEPEST_CUSTOM {
        let why = format!(
            "it is nested {depth} levels deep and at most {DEEPEST_CUSTOM} are allowed; make it \
             flatter"
        );
        return Err(refuse(&why));
    }
    canonical::form(custom).map(drop).map_err(|unalike| refuse(&unalike.to_string()))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn refuse(why: &str) -> Rejection {
    Rejection::new(RejectionCode::Custom, format!("custom metadata rejected: {why}"))
}

/// A JSON value in which no object repeats a key: nobody could say which of the two values its
/// author meant.
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
                return Err(de::Error::custom(format!("the key {key:?} occurs twice")));
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
    fn what_clients_read_alike_is_accepted() {
        for text in [
            "{}",
            r#"{"version": "1.2.3é", "size": -9007199254740992, "tags": ["a", null, true, {"é": 1}]}"#,
            r##"{"a":1,"a#":2,"A":{"":0,"#":1}}"##,
            r#"{"a":"\n\u0000\u007f\u2028<","\n":1,"\u0000b":1}"#,
            r#"{"a":9007199254740994}"#,
            r#"{"__proto__":{"constructor":1},"10":1,"9":2}"#,
            r#"{"字":1,"😀":2}"#,
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
        }
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
            r#"{"a":-0}"#,
            r#"{"a":9007199254740993}"#,
            r#"{"a":-1152921504606846976}"#,
            r#"{"a":10000000000000000000}"#,
            r#"{"a":18446744073709551616}"#,
            r#"{"a":"e\u0301"}"#,
            r#"{"e\u0301":1}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":1,"a b":2}"#,
            r#"{"a":{"k":1,"k!":2}}"#,
            r#"{"":1,"\n":2}"#,
            r#"{"\"":1,"A":2}"#,
            "{\"\u{ff5a}\":1,\"\u{1f600}\":2}",
            r#"{"a":NaN}"#,
            &long,
        ] {
            let rejection = parse(text).unwrap_err();
            assert_eq!(rejection.code, RejectionCode::Custom, "{text:?}");
            assert!(!rejection.reason.contains('\n'), "one line: {:?}", rejection.reason);
        }
    }

    #[test]
    fn a_refusal_says_which_key_and_what_to_do() {
        let reason = parse(r#"{"z":{"a":1,"a b":2}}"#).unwrap_err().reason;
        assert_eq!(
            reason,
            "custom metadata rejected: in z: some clients put the keys \"a\" and \"a b\" in another order than others; rename one of them"
        );
        let reason = parse(r#"{"z":[{"size":9007199254740993}]}"#).unwrap_err().reason;
        assert_eq!(
            reason,
            "custom metadata rejected: in z.size: some clients read the number 9007199254740993 as 9007199254740992; write it as a string"
        );
    }

    /// A document and a manifest with metadata of the greatest depth can be read back.
    #[test]
    fn metadata_nested_too_deep_to_be_read_back_is_refused() {
        let nested =
            |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        let custom = parse(&nested(DEEPEST_CUSTOM)).unwrap();
        let manifest = serde_json::json!({"changes": [{"outcome": {"set": {"custom": custom}}}]});
        let file = serde_json::json!({"signed": {"targets": {"name": {"custom": custom}}}});
        for value in [manifest, file] {
            serde_json::from_str::<Value>(&value.to_string()).unwrap();
        }
        assert_eq!(parse(&nested(DEEPEST_CUSTOM + 1)).unwrap_err().code, RejectionCode::Custom);
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
