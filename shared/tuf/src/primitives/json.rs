//! The only writer of JSON: compact and with sorted keys, so that equal documents have equal bytes.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};
use tufline_metadata::canonical::OpenObjects;

/// `value` as compact JSON with sorted keys.
///
/// This is not the canonical form over which TUF signs ([`crate::canonical`]). The canonical form
/// leaves control characters raw, and so isn't always JSON.
///
/// # Errors
/// Fails only for values that JSON cannot hold, such as a map whose keys aren't strings. Tufline
/// has no such type.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = Vec::new();
    value.serialize(&mut Serializer::with_formatter(
        io::sink(),
        Sorted { text: &mut text, objects: OpenObjects::default() },
    ))?;
    Ok(text)
}

/// Writes each object in place, and sorts its members when it ends.
///
/// *Invariant*: keys are compared in their written form, including their quotes.
struct Sorted<'a> {
    /// The text written so far, in place of the serializer's own writer.
    text: &'a mut Vec<u8>,
    objects: OpenObjects,
}

/// Methods that write what `serde_json`'s compact formatter writes.
macro_rules! compact {
    ($($function:ident($($argument:ident: $type:ty)?);)*) => {
        $(fn $function<W: Write + ?Sized>(&mut self, _: &mut W $(, $argument: $type)?) -> io::Result<()> {
            CompactFormatter.$function(self.text $(, $argument)?)
        })*
    };
}

impl Formatter for Sorted<'_> {
    compact! {
        write_null();
        write_bool(value: bool);
        write_i8(value: i8);
        write_i16(value: i16);
        write_i32(value: i32);
        write_i64(value: i64);
        write_i128(value: i128);
        write_u8(value: u8);
        write_u16(value: u16);
        write_u32(value: u32);
        write_u64(value: u64);
        write_u128(value: u128);
        write_f32(value: f32);
        write_f64(value: f64);
        write_string_fragment(fragment: &str);
        write_char_escape(escape: CharEscape);
        begin_string();
        end_string();
        begin_array();
        end_array();
        begin_array_value(first: bool);
        begin_object_value();
    }

    fn begin_object<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        CompactFormatter.begin_object(self.text)?;
        self.objects.begin(self.text.len());
        Ok(())
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, _: &mut W, first: bool) -> io::Result<()> {
        CompactFormatter.begin_object_key(self.text, first)?;
        self.objects.begin_key(self.text.len());
        Ok(())
    }

    fn end_object_key<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.objects.end_key(self.text.len());
        Ok(())
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.objects.end_value(self.text.len());
        Ok(())
    }

    fn end_object<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        if let Some(mut object) = self.objects.end()
            && object.sort_as_written(self.text)
        {
            self.objects.reorder(&object, self.text);
        }
        CompactFormatter.end_object(self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{hash_map, vec};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn keys_are_sorted_and_nothing_is_spaced() {
        let value = json!({"b": {"d": 1, "c": [1, 2]}, "a": "x\n"});
        assert_eq!(to_vec(&value).unwrap(), br#"{"a":"x\n","b":{"c":[1,2],"d":1}}"#);
        for (value, text) in
            [(json!({}), "{}"), (json!([]), "[]"), (json!("a"), r#""a""#), (json!(null), "null")]
        {
            assert_eq!(to_vec(&value).unwrap(), text.as_bytes());
        }
    }

    /// A JSON tree whose objects are in random order, unlike those of `Value`.
    #[derive(Debug, Clone, Serialize)]
    #[serde(untagged)]
    enum Tree {
        Null,
        Bool(bool),
        Number(i64),
        Float(f64),
        Text(String),
        List(Vec<Tree>),
        Object(std::collections::HashMap<String, Tree>),
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let text =
            prop_oneof!["[ -~]{0,4}", "[!\"\\\\ a#]{0,3}", "[\u{1}-\u{1f}éö\u{301}e字]{0,3}"];
        let leaf = prop_oneof![
            Just(Tree::Null),
            any::<bool>().prop_map(Tree::Bool),
            any::<i64>().prop_map(Tree::Number),
            text.clone().prop_map(Tree::Text),
            (-9..9).prop_map(|number| Tree::Float(f64::from(number) / 2.0)),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Tree::List),
                hash_map(text.clone(), inner, 0..6).prop_map(Tree::Object)
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(tree in tree()) {
            let expected = serde_json::to_value(&tree).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Value>(&to_vec(&tree).unwrap()).unwrap(), expected);
        }
    }
}
