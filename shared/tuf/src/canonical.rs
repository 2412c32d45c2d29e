//! The canonical form, over which signatures go (TUF specification 4.2), where all clients write the same.
//!
//! The specification names a form (<https://wiki.laptop.org/go/Canonical_JSON>) that leaves open what these clients do differently. Each reads a
//! document into its own types and writes the form of those, so a document that one of them writes in another way has no good
//! signature there, and all that it says is lost to those devices: a root that is one leaves them at the root before for ever.
//!
//! | what | `securesystemslib` 1 (python-tuf) | `@tufjs/canonical-json` 2 (tuf-js) | `go-securesystemslib` 0.11 (go-tuf) | `olpc-cjson` 0.1 (tough) | here |
//! |---|---|---|---|---|---|
//! | order of keys | code points | UTF-16 code units | bytes of UTF-8, which are in the order of code points | bytes as they are written: with escapes and the closing quote | refused where one differs |
//! | strings that aren't in Unicode's form C | as they are | as they are | as they are | made so, between escapes | refused |
//! | numbers with a fraction or an exponent, `-0` | refused, but for `-0`, which is `0` | as integers, where they are | refused in `custom`, elsewhere as integers; `-0` stays | refused | refused |
//! | integers | all | read as doubles | up to 64 bits with sign; outside `custom` read as doubles | up to 64 bits | refused where one differs |
//! | nesting | some 900 levels | thousands | 10,000 | 127, when it reads the file | refused above |
//! | control characters, U+2028, `<`, U+007F | as they are | as they are | as they are: what its JSON writer escapes is read back before | as they are | as they are |
//! | `"` and `\` | with a backslash | with a backslash | with a backslash | with a backslash | with a backslash |
//! | keys that are empty, numbers, or `__proto__` | keys | keys: its objects are copied member by member, and sorted when written | keys | keys | keys |
//! | a key twice | the last counts | the last counts | the last counts | the last counts | the last counts |
//! | a lone surrogate | can't be encoded | replaced | replaced | not read | not read |
//!
//! The quotes are what makes the order of `olpc-cjson` another: `"a"` comes after `"a b"` and `"a!"` there, since a space and an exclamation
//! mark come before the quote, and `"\""` after `"A"`.
//!
//! *Invariant*: what [`form`] writes, all of these write.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use crate::json::{Member, Sorted};

/// So deep may objects and lists be nested in a file: `serde_json`, with which clients in Rust read, takes no more.
pub const DEEPEST_FILE: usize = 127;

/// A signed document is a field of its file.
const DEEPEST: usize = DEEPEST_FILE - 1;

/// Doubles are exact up to this (RFC 8259, section 6).
const EXACT: u64 = 1 << 53;

/// Why clients don't write one canonical form of a value: where the first difference is, what it is, and what to do. One line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", Place(.place))]
pub struct Unalike {
    /// The keys on the way to it.
    pub place: Vec<String>,
    /// What it is.
    pub why: Why,
}

/// What clients write in different ways.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The order of these two keys.
    #[error("some clients put the keys {0:?} and {1:?} in another order than others; rename one of them")]
    Order(String, String),
    /// A string, or a key.
    #[error("{0:?} is not in Unicode normal form C, which some clients make of it; normalise it")]
    Text(String),
    /// A number that is not an integer.
    #[error(
        "{0} is a number with a fraction or an exponent, or too large, which some clients refuse; write it as a string"
    )]
    Fraction(String),
    /// An integer.
    #[error("some clients read the number {0} as {1}; write it as a string")]
    Integer(String, String),
    /// An integer of more than 64 bits with its sign.
    #[error("the number {0} is larger than some clients read; write it as a string")]
    Large(String),
    /// The nesting.
    #[error("it is nested more than {} levels deep, which some clients don't read; make it flatter", DEEPEST)]
    Depth,
    /// A value that JSON can't hold.
    #[error("it cannot be written: {0}")]
    Json(String),
}

/// Before what is said of it: nothing for the value itself.
struct Place<'a>(&'a [String]);

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let place = self.0.join(".");
        write!(formatter, "in {}: ", place.escape_debug())
    }
}

/// The canonical form of `value`, if all clients write the same.
///
/// # Errors
/// [`Unalike`], the first difference.
pub fn form<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Unalike> {
    let (mut text, mut found) = (Vec::new(), None);
    let formatter = Canonical { sorted: Sorted::new(&mut text), depth: 0, found: &mut found };
    let done = value.serialize(&mut Serializer::with_formatter(io::sink(), formatter));
    match (found, done) {
        (Some(unalike), _) => Err(unalike),
        (None, Err(error)) => Err(Unalike { place: Vec::new(), why: Why::Json(error.to_string()) }),
        (None, Ok(())) => Ok(text),
    }
}

/// Writes the form, and stops at the first difference.
struct Canonical<'a> {
    sorted: Sorted<'a>,
    /// The objects and lists that have not ended.
    depth: usize,
    found: &'a mut Option<Unalike>,
}

impl Canonical<'_> {
    fn refuse(&mut self, why: Why) -> io::Error {
        let place = self.sorted.place().map(unescaped).collect();
        self.found.get_or_insert(Unalike { place, why });
        io::Error::other("not canonical")
    }

    fn deeper(&mut self) -> io::Result<()> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(self.refuse(Why::Depth)) } else { Ok(()) }
    }

    /// An integer, by its size and its sign.
    fn integer(&mut self, size: u128, text: impl fmt::Display) -> io::Result<()> {
        if size > u128::from(EXACT) {
            let text = text.to_string();
            if text.parse::<i64>().is_err() {
                return Err(self.refuse(Why::Large(text)));
            }
            // The fewest digits that mean the double, and then zeros: as JavaScript writes it below 10^21 (ECMA-262, Number::toString).
            let double = text.parse::<f64>().map(|double| double.to_string()).unwrap_or_default();
            if double != text {
                return Err(self.refuse(Why::Integer(text, double)));
            }
        }
        write!(self.sorted.text, "{text}")
    }
}

/// As the compact writer does it.
macro_rules! same {
    ($($function:ident($($argument:ident: $type:ty)?);)*) => {
        $(fn $function<W: Write + ?Sized>(&mut self, writer: &mut W $(, $argument: $type)?) -> io::Result<()> {
            self.sorted.$function(writer $(, $argument)?)
        })*
    };
}

macro_rules! integers {
    ($($function:ident($type:ty);)*) => {
        $(fn $function<W: Write + ?Sized>(&mut self, writer: &mut W, value: $type) -> io::Result<()> {
            if i128::from(value).unsigned_abs() <= u128::from(EXACT) {
                return self.sorted.$function(writer, value);
            }
            self.integer(i128::from(value).unsigned_abs(), value)
        })*
    };
}

impl Formatter for Canonical<'_> {
    same! {
        write_null();
        write_bool(value: bool);
        write_i8(value: i8);
        write_i16(value: i16);
        write_i32(value: i32);
        write_u8(value: u8);
        write_u16(value: u16);
        write_u32(value: u32);
        begin_string();
        end_string();
        begin_array_value(first: bool);
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }

    integers! {
        write_i64(i64);
        write_u64(u64);
        write_i128(i128);
    }

    fn write_u128<W: Write + ?Sized>(&mut self, _: &mut W, value: u128) -> io::Result<()> {
        self.integer(value, value)
    }

    fn write_f32<W: Write + ?Sized>(&mut self, _: &mut W, value: f32) -> io::Result<()> {
        Err(self.refuse(Why::Fraction(value.to_string())))
    }

    fn write_f64<W: Write + ?Sized>(&mut self, _: &mut W, value: f64) -> io::Result<()> {
        Err(self.refuse(Why::Fraction(value.to_string())))
    }

    fn write_string_fragment<W: Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // Between two escapes, which is what is made normal by those who do it.
        if !fragment.is_ascii() && !unicode_normalization::is_nfc(fragment) {
            return Err(self.refuse(Why::Text(fragment.to_owned())));
        }
        self.sorted.write_string_fragment(writer, fragment)
    }

    fn write_char_escape<W: Write + ?Sized>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        let character = match escape {
            CharEscape::Quote | CharEscape::ReverseSolidus => {
                return self.sorted.write_char_escape(writer, escape);
            }
            CharEscape::Solidus => b'/',
            CharEscape::Backspace => 8,
            CharEscape::FormFeed => 12,
            CharEscape::LineFeed => b'\n',
            CharEscape::CarriageReturn => b'\r',
            CharEscape::Tab => b'\t',
            CharEscape::AsciiControl(byte) => byte,
        };
        self.sorted.text.push(character);
        Ok(())
    }

    fn begin_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.deeper()?;
        self.sorted.begin_array(writer)
    }

    fn end_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        self.sorted.end_array(writer)
    }

    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.deeper()?;
        self.sorted.begin_object(writer)
    }

    fn end_object<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.depth -= 1;
        let mut reordered = None;
        self.sorted.close(|text, members| reordered = first_reordered(text, members));
        if let Some((one, next)) = reordered {
            return Err(self.refuse(Why::Order(one, next)));
        }
        CompactFormatter.end_object(&mut *self.sorted.text)
    }
}

/// The first two of an object's keys that not all clients leave in the order in which they are: that of their bytes as they are written.
fn first_reordered(text: &[u8], members: &[Member]) -> Option<(String, String)> {
    let written = |member: &Member| text.get(member.key.clone()).unwrap_or_default();
    if members.len() < 2 || members.iter().all(|member| is_plain(written(member))) {
        return None;
    }
    let keys: Vec<String> = members.iter().map(|member| unescaped(written(member))).collect();
    let stays = |pair: &[String]| match pair {
        [one, next] => one <= next && one.encode_utf16().le(next.encode_utf16()),
        _ => true,
    };
    keys.windows(2).find(|pair| !stays(pair)).and_then(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone())))
}

/// Whether a key comes in the same place in every order: none of its bytes comes before the quote that ends it or is escaped otherwise than all
/// the same, and none belongs to a character from U+E000 on, which UTF-16 puts before those beyond U+FFFF.
fn is_plain(written: &[u8]) -> bool {
    let inner = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
    inner.iter().all(|byte| matches!(byte, b'#'..=0xed))
}

/// A key without its quotes and escapes.
fn unescaped(written: &[u8]) -> String {
    let inner = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
    let mut key = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        key.push(if *byte == b'\\' { bytes.next().copied().unwrap_or(b'\\') } else { *byte });
    }
    String::from_utf8_lossy(&key).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use olpc_cjson::CanonicalFormatter;
    use proptest::collection::{hash_map, vec};
    use proptest::prelude::*;

    use super::*;

    /// As a map of a random order, unlike `Value`.
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
        let near = |around: i64| (-3..=3_i64).prop_map(move |step| Tree::Number(around.saturating_add(step)));
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

    /// A client of the table above: how it writes an integer, and in which order it puts keys. It refuses what it answers `None` for.
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
                    let items: Option<Vec<String>> = items.iter().map(|item| self.write(item)).collect();
                    format!("[{}]", items?.join(","))
                }
                Tree::Object(members) => {
                    let sorted: BTreeMap<K, (&String, &Tree)> =
                        members.iter().map(|(key, value)| ((self.order)(key), (key, value))).collect();
                    let member =
                        |(key, value): &(&String, &Tree)| Some(format!("{}:{}", quoted(key), self.write(value)?));
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
        let python =
            Client { integer: |number| Some(number.to_string()), order: |key| key.chars().collect::<Vec<_>>() };
        let javascript =
            Client { integer: |number| Some(as_double(number)), order: |key| key.encode_utf16().collect::<Vec<_>>() };
        let go = Client {
            integer: |number| i64::try_from(number).ok().map(|number| number.to_string()),
            order: |key| key.as_bytes().to_vec(),
        };
        let go_outside_custom = Client {
            integer: |number| as_double(number).parse::<i64>().ok().map(|number| number.to_string()),
            order: |key| key.as_bytes().to_vec(),
        };
        let mut rust = Vec::new();
        let done = tree.serialize(&mut Serializer::with_formatter(&mut rust, CanonicalFormatter::new()));
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
                    let form = Some(String::from_utf8(form).unwrap());
                    prop_assert!(forms.iter().all(|other| *other == form), "{form:?}: {forms:?}");
                }
                Err(unalike) => {
                    let first = &forms[0];
                    prop_assert!(first.is_none() || forms.iter().any(|other| other != first), "{unalike}: {forms:?}");
                    prop_assert!(!unalike.to_string().contains(char::is_control), "one line: {unalike:?}");
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

    #[test]
    fn what_a_client_in_rust_does_not_read_is_refused() {
        let nested = |depth: usize| (1..depth).fold(serde_json::json!([]), |inner, _| serde_json::json!([inner]));
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
