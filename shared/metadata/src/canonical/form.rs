//! The canonical forms that can be written.

use alloc::vec::Vec;

use serde::Serialize;

use super::unalike::Unalike;
use super::writer::{Form, Writer};

/// The canonical form of `value`, if all clients write the same.
///
/// # Errors
/// [`Unalike`] with the first difference between clients.
pub fn form<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Unalike> {
    Writer::write(value, Form::Alike)
}

/// The canonical form that the specification describes, for documents that others signed: keys in
/// the order of their code points, strings and integers unchanged.
///
/// *Invariant*: if [`form`] succeeds, this form is the same.
///
/// # Errors
/// [`Unalike`] for numbers with a fraction, which have no canonical form, and for values that are
/// nested too deep.
pub fn plain_form<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Unalike> {
    Writer::write(value, Form::Plain)
}

/// The canonical form that clients in Rust write, for documents that others signed: strings in
/// Unicode's form C, and keys in the order of their written bytes, including the quotes.
///
/// *Invariant*: if [`form`] succeeds, this form is the same.
///
/// # Errors
/// The same as of [`plain_form`].
pub fn normal_form<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Unalike> {
    Writer::write(value, Form::Normal)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::format;
    use std::string::{String, ToString};

    use olpc_cjson::CanonicalFormatter;
    use proptest::collection::{hash_map, vec};
    use proptest::prelude::*;
    use serde_json::Serializer;

    use super::super::unalike::{DEEPEST, Why};
    use super::*;

    /// A JSON tree whose objects are in random order, unlike those of `Value`.
    #[derive(Debug, Clone, Serialize)]
    #[serde(untagged)]
    enum Tree {
        Null,
        Bool(bool),
        Number(i64),
        Large(u64),
        Float(f64),
        Text(String),
        List(Vec<Tree>),
        Object(HashMap<String, Tree>),
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let text = prop_oneof![
            "[ -~]{0,4}",
            "[!\"\\\\ a#\\[\\]]{0,3}",
            "[\u{1}-\u{1f}\u{7f}éö\u{301}e字<\u{2028}]{0,3}",
            "[a\u{d7ff}\u{e000}\u{ff5a}\u{10000}\u{1f600}]{0,2}",
        ];
        let near = |around: i64| {
            (-3..=3_i64).prop_map(move |step| Tree::Number(around.saturating_add(step)))
        };
        let leaf = prop_oneof![
            Just(Tree::Null),
            any::<bool>().prop_map(Tree::Bool),
            any::<i64>().prop_map(Tree::Number),
            (1..=63_u32).prop_flat_map(move |bits| near(((1_u64 << bits) - 1).cast_signed())),
            (0..=18_u32).prop_flat_map(move |digits| near(-(10_i64.pow(digits)))),
            any::<u64>().prop_map(Tree::Large),
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

    /// A client of the table in the module's documentation: how it writes an integer, and how it
    /// orders keys. `None` means that it refuses the number.
    struct Client<K> {
        integer: fn(i128) -> Option<String>,
        order: fn(&str) -> K,
    }

    impl<K: Ord> Client<K> {
        fn write(&self, tree: &Tree) -> Option<String> {
            Some(match tree {
                Tree::Null => "null".into(),
                Tree::Bool(value) => value.to_string(),
                Tree::Number(number) => (self.integer)((*number).into())?,
                Tree::Large(number) => (self.integer)((*number).into())?,
                Tree::Float(_) => return None,
                Tree::Text(text) => quoted(text),
                Tree::List(items) => {
                    let items: Option<Vec<String>> =
                        items.iter().map(|item| self.write(item)).collect();
                    format!("[{}]", items?.join(","))
                }
                Tree::Object(members) => {
                    let sorted: BTreeMap<K, (&String, &Tree)> = members
                        .iter()
                        .map(|(key, value)| ((self.order)(key), (key, value)))
                        .collect();
                    let member = |(key, value): &(&String, &Tree)| {
                        Some(format!("{}:{}", quoted(key), self.write(value)?))
                    };
                    let members: Option<Vec<String>> = sorted.values().map(member).collect();
                    format!("{{{}}}", members?.join(","))
                }
            })
        }
    }

    fn quoted(text: &str) -> String {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    }

    fn as_double(number: i128) -> String {
        number.to_string().parse::<f64>().unwrap().to_string()
    }

    fn all_forms(tree: &Tree) -> [Option<String>; 5] {
        let python = Client {
            integer: |number| Some(number.to_string()),
            order: |key| key.chars().collect::<Vec<_>>(),
        };
        let javascript = Client {
            integer: |number| Some(as_double(number)),
            order: |key| key.encode_utf16().collect::<Vec<_>>(),
        };
        let go = Client {
            integer: |number| i64::try_from(number).ok().map(|number| number.to_string()),
            order: |key| key.as_bytes().to_vec(),
        };
        let go_outside_custom = Client {
            integer: |number| {
                as_double(number).parse::<i64>().ok().map(|number| number.to_string())
            },
            order: |key| key.as_bytes().to_vec(),
        };
        let mut rust = Vec::new();
        let done =
            tree.serialize(&mut Serializer::with_formatter(&mut rust, CanonicalFormatter::new()));
        [
            python.write(tree),
            javascript.write(tree),
            go.write(tree),
            go_outside_custom.write(tree),
            done.ok().map(|()| String::from_utf8(rust).unwrap()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn it_is_the_form_of_all_clients_or_refused_since_they_differ(tree in tree()) {
            let forms = all_forms(&tree);
            match form(&tree) {
                Ok(form) => {
                    prop_assert_eq!(&plain_form(&tree).unwrap(), &form);
                    prop_assert_eq!(&normal_form(&tree).unwrap(), &form);
                    let form = Some(String::from_utf8(form).unwrap());
                    prop_assert!(forms.iter().all(|other| *other == form), "{form:?}: {forms:?}");
                }
                Err(unalike) => {
                    let first = &forms[0];
                    prop_assert!(first.is_none() || forms.iter().any(|other| other != first), "{unalike}: {forms:?}");
                    prop_assert!(!unalike.to_string().contains(char::is_control), "one line: {unalike:?}");
                    let others = plain_form(&tree).ok().map(|form| String::from_utf8(form).unwrap());
                    prop_assert_eq!(&others, first, "as python-tuf");
                    let normal = normal_form(&tree).ok().map(|form| String::from_utf8(form).unwrap());
                    prop_assert_eq!(&normal, &forms[4], "as tough");
                }
            }
        }
    }

    #[test]
    fn of_two_members_with_the_same_key_the_last_counts() {
        struct Twice;
        impl Serialize for Twice {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map([("b", 1), ("a", 2), ("b", 3), ("a", 4)])
            }
        }
        assert_eq!(form(&Twice).unwrap(), br#"{"a":4,"b":3}"#);
    }

    /// Go reads an integer into 64 signed bits and refuses this one, although all other clients
    /// write it alike.
    #[test]
    fn an_integer_above_64_signed_bits_is_refused() {
        assert!(form(&10_u64.pow(18)).is_ok());
        assert_eq!(
            form(&10_u64.pow(19)).unwrap_err().why,
            Why::Large("10000000000000000000".into())
        );
    }

    #[test]
    fn what_a_client_in_rust_does_not_read_is_refused() {
        let nested = |depth: usize| {
            (1..depth).fold(serde_json::json!([]), |inner, _| serde_json::json!([inner]))
        };
        let reads = |value: &serde_json::Value| {
            serde_json::from_slice::<serde_json::Value>(value.to_string().as_bytes()).is_ok()
        };
        for depth in [1, DEEPEST - 1, DEEPEST, DEEPEST + 1] {
            let value = nested(depth);
            let file = serde_json::json!({"signed": value});
            assert_eq!(form(&value).is_ok(), reads(&file), "{depth}");
        }
    }
}
