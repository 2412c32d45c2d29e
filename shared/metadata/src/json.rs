//! JSON as it is read from a file, in little memory.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Number;
use unicode_normalization::is_nfc;

/// The content of a [`serde_json::Value`], borrowed from the file's bytes: a string without escapes
/// is not copied.
///
/// For a snapshot that lists thousands of roles, a `Value` takes thirty times the length of the
/// file, and this type four times, since its objects are not trees.
///
/// *Invariant*: it accepts the same bytes as a `Value`, and reads the same content from them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json<'b> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'b, str>),
    List(Box<[Self]>),
    Object(Object<'b>),
}

/// An object of JSON.
///
/// *Invariant*: names are unique and sorted by their bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object<'b>(Box<[(Cow<'b, str>, Json<'b>)]>);

impl<'b> Object<'b> {
    /// Of several members with the same name, the last one counts.
    fn new(mut members: Vec<(Cow<'b, str>, Json<'b>)>) -> Self {
        // The sort is stable: among members with the same name the last one stays last.
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        members.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                core::mem::swap(next, kept);
            }
            is_same
        });
        Self(members.into_boxed_slice())
    }

    pub fn get(&self, name: &str) -> Option<&Json<'b>> {
        let at = self.0.binary_search_by(|(key, _)| (**key).cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json<'b>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl Json<'_> {
    /// Whether all strings, including names, are in Unicode's form C, so that no canonical form
    /// changes them.
    pub fn is_normal(&self) -> bool {
        match self {
            Self::Text(text) => is_nfc(text),
            Self::List(items) => items.iter().all(Self::is_normal),
            Self::Object(object) => {
                object.iter().all(|(name, value)| is_nfc(name) && value.is_normal())
            }
            Self::Null | Self::Bool(_) | Self::Number(_) => true,
        }
    }

    /// The value as compact JSON.
    pub fn to_text(&self) -> String {
        // A value that was read can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(object) => serializer.collect_map(object.iter()),
        }
    }
}

impl<'de: 'b, 'b> Deserialize<'de> for Json<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadValue)
    }
}

struct ReadValue;

impl<'de> Visitor<'de> for ReadValue {
    type Value = Json<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any valid JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Json<'de>, E> {
        ReadText.visit_borrowed_str(text).map(Json::Text)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json<'de>, E> {
        ReadText.visit_str(text).map(Json::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            push(&mut list, item);
        }
        Ok(Json::List(list.into_boxed_slice()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let mut object = Vec::new();
        while let Some(name) = members.next_key_seed(ReadText)? {
            push(&mut object, (name, members.next_value()?));
        }
        Ok(Json::Object(Object::new(object)))
    }
}

/// Reads a string. Borrows it from the file if it has no escapes.
struct ReadText;

impl<'de> DeserializeSeed<'de> for ReadText {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for ReadText {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(String::from(text)))
    }
}

/// Reserves room for one item, not for four: most lists and objects in metadata have one.
fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len().max(1));
    }
    list.push(item);
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::{format, vec};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use serde_json::Value;

    use super::*;
    use crate::canonical;

    /// JSON text that no writer would produce: repeated members in any order, spaces, escapes and
    /// all kinds of numbers.
    fn text() -> impl Strategy<Value = String> {
        let quoted = select(vec![
            r#""""#,
            r#""a""#,
            r#""b""#,
            r#""\u0061""#,
            r#""A\n""#,
            r#""é""#,
            r#""e\u0301""#,
            r#""\u212a""#,
            r#""字""#,
            r#""\ud83d\ude00""#,
        ]);
        let leaf = select(vec![
            "null",
            "true",
            "false",
            "0",
            "-0",
            "7",
            "-7",
            "1.5",
            "1e3",
            "-0.0",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "-9223372036854775809",
            "1e308",
            "1e309",
            "\"\\ud800\"",
            "\"\u{1}\"",
            " 1 ",
            "[]",
            "{}",
            "01",
            "nul",
            "",
        ]);
        let leaf = prop_oneof![8 => leaf.prop_map(String::from), 4 => quoted.clone().prop_map(String::from)];
        leaf.prop_recursive(5, 60, 5, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(","))),
                vec((quoted.clone(), inner), 0..5).prop_map(|members| {
                    let members: Vec<String> = members
                        .into_iter()
                        .map(|(name, value)| format!("{name} :{value}"))
                        .collect();
                    format!("{{{}}}", members.join(" ,"))
                })
            ]
        })
    }

    /// `serde_json`'s own `Value` is the judge.
    fn as_a_value(bytes: &[u8]) -> Result<(), TestCaseError> {
        let json = serde_json::from_slice::<Json<'_>>(bytes).map_err(|error| error.to_string());
        let value = serde_json::from_slice::<Value>(bytes).map_err(|error| error.to_string());
        let (json, value) = match (json, value) {
            (Ok(json), Ok(value)) => (json, value),
            (json, value) => {
                prop_assert_eq!(json.err(), value.err());
                return Ok(());
            }
        };
        prop_assert_eq!(json.to_text(), value.to_string());
        prop_assert_eq!(canonical::form(&json), canonical::form(&value));
        prop_assert_eq!(canonical::plain_form(&json), canonical::plain_form(&value));
        prop_assert_eq!(canonical::normal_form(&json), canonical::normal_form(&value));
        if let (Json::Object(object), Value::Object(members)) = (&json, &value) {
            for (name, value) in members {
                prop_assert_eq!(object.get(name).map(Json::to_text), Some(value.to_string()));
            }
            prop_assert!(object.get("none").is_none());
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn it_holds_what_a_value_holds(text in text(), changes in vec((any::<Index>(), any::<u8>()), 0..2)) {
            as_a_value(text.as_bytes())?;
            let mut bytes = text.into_bytes();
            for (at, byte) in changes {
                let at = at.index(bytes.len() + 1);
                if at < bytes.len() { bytes[at] = byte } else { bytes.push(byte) }
            }
            as_a_value(&bytes)?;
        }
    }

    #[test]
    fn it_is_nested_as_deep_as_a_value() {
        for depth in [126, 127, 128, 129] {
            let lists = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
            as_a_value(lists.as_bytes()).unwrap();
            as_a_value(objects.as_bytes()).unwrap();
        }
    }

    #[test]
    fn strings_without_escapes_are_borrowed() {
        let is_borrowed = |bytes: &[u8]| {
            let json: Json<'_> = serde_json::from_slice(bytes).unwrap();
            let Json::Object(Object(members)) = json else { panic!() };
            matches!(&members[..], [(Cow::Borrowed(_), Json::Text(Cow::Borrowed(_)))])
        };
        assert!(is_borrowed(br#"{"a": "b"}"#));
        assert!(!is_borrowed(br#"{"a": "\n"}"#));
        assert_eq!(size_of::<Json<'_>>(), size_of::<Cow<'_, str>>());
    }
}
