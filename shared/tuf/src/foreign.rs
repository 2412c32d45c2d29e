//! What is read of a file that others wrote and signed, and that devices get as it is: a root, or another party's document.
//!
//! Our own documents are written from our types. Of such a file we read into types too, and so does each client into its own: what one
//! of them reads otherwise, or not at all, is refused here, before anybody depends on it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use tough::schema::{self, RoleType, Root, Targets};

use crate::canonical;
use crate::signed::Document;

/// What stands in a field, and what clients make of it.
enum Shape {
    /// Anything: what clients keep as it is.
    Any,
    /// Bytes in hexadecimal, in lower case since some clients compare the text.
    Hex,
    /// A text, where some clients read nothing else.
    Text,
    /// The version of the specification: two or three numbers, the first of them 1 (python-tuf and tuf-js refuse any other).
    SpecVersion,
    /// An object with these fields, and others that clients keep as [`Shape::Any`], or what `others` says.
    Object { known: &'static [(&'static str, Shape)], others: &'static Shape },
    /// An object of many such values, under names of their own.
    Map(&'static Shape),
    /// The same, under key ids.
    Keys,
    /// Key ids, none twice (python-tuf and tuf-js refuse that).
    KeyIds,
    /// Delegated roles: no name twice (python-tuf refuses that, tuf-js forgets the first), none of a top-level role or empty (python-tuf and
    /// tuf-js refuse them), and numbers in their order before all others, which is how tuf-js has them (ECMA-262, `OrdinaryOwnPropertyKeys`).
    Roles,
}

/// A document of the root role (TUF specification 4.3).
const ROOT: Shape = Shape::Object {
    known: &[
        ("_type", Shape::Text),
        ("spec_version", Shape::SpecVersion),
        ("consistent_snapshot", Shape::Any),
        ("version", Shape::Any),
        ("expires", Shape::Text),
        ("keys", Shape::Keys),
        ("roles", Shape::Map(&ROLE)),
    ],
    others: &Shape::Any,
};

const ROLE: Shape =
    Shape::Object { known: &[("keyids", Shape::KeyIds), ("threshold", Shape::Any)], others: &Shape::Any };

/// tuf-js takes texts only in `keyval`.
const KEY: Shape = Shape::Object {
    known: &[
        ("keytype", Shape::Text),
        ("scheme", Shape::Text),
        ("keyval", Shape::Object { known: &[("public", Shape::Text)], others: &Shape::Text }),
    ],
    others: &Shape::Any,
};

/// A document of the targets role, or of one that it delegates to (TUF specification 4.5).
const TARGETS: Shape = Shape::Object {
    known: &[
        ("_type", Shape::Text),
        ("spec_version", Shape::SpecVersion),
        ("version", Shape::Any),
        ("expires", Shape::Text),
        ("targets", Shape::Map(&TARGET)),
        (
            "delegations",
            Shape::Object {
                known: &[("keys", Shape::Keys), ("roles", Shape::Roles), ("succinct_roles", Shape::Any)],
                others: &Shape::Any,
            },
        ),
    ],
    others: &Shape::Any,
};

const TARGET: Shape = Shape::Object {
    known: &[("length", Shape::Any), ("hashes", Shape::Map(&Shape::Hex)), ("custom", Shape::Any)],
    others: &Shape::Any,
};

const DELEGATED_ROLE: Shape = Shape::Object {
    known: &[
        ("name", Shape::Text),
        ("keyids", Shape::KeyIds),
        ("threshold", Shape::Any),
        ("terminating", Shape::Any),
        ("paths", Shape::Any),
        ("path_hash_prefixes", Shape::Any),
    ],
    others: &Shape::Any,
};

/// A kind of document that comes from others.
pub trait Foreign: Document {
    /// Whether all clients read these fields alike.
    ///
    /// # Errors
    /// One line that says which they don't, and what to do.
    fn check_fields(fields: &Value) -> Result<(), String>;
}

impl Foreign for Root {
    fn check_fields(fields: &Value) -> Result<(), String> {
        check(fields, &ROOT, "")
    }
}

impl Foreign for Targets {
    fn check_fields(fields: &Value) -> Result<(), String> {
        check(fields, &TARGETS, "")
    }
}

/// Reads a file that any tool may have written, as all clients do.
///
/// # Errors
/// One line that says which field some client reads otherwise, and what to do.
pub fn read<T: Foreign>(bytes: &[u8]) -> Result<schema::Signed<T>, String> {
    let file = T::read_file(bytes)?;
    let text: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let (text, signatures) = (&text["signed"], &text["signatures"]);
    if *text != serde_json::to_value(&file.signed).map_err(|error| error.to_string())? {
        return Err("a time is not in whole seconds that end in Z, or a field is not as it should be".into());
    }
    for signature in signatures.as_array().into_iter().flatten() {
        check(&signature["keyid"], &Shape::Hex, "signatures.keyid")?;
    }
    check_document(&file.signed)?;
    let escaped =
        "a time, a digest or a signature is written with escapes, which go-tuf doesn't read; write it plainly";
    serde_json::from_slice::<Plain<'_>>(bytes).map_err(|_| escaped)?;
    Ok(file)
}

/// Texts that go-tuf decodes as they are in the file: here they can be borrowed from it, which they can't where anything is escaped.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether they can be read is asked")]
struct Plain<'a> {
    #[serde(borrow)]
    signed: PlainDocument<'a>,
    #[serde(borrow)]
    signatures: Vec<PlainSignature<'a>>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "as above")]
struct PlainDocument<'a> {
    expires: &'a str,
    #[serde(borrow, default)]
    targets: BTreeMap<String, PlainTarget<'a>>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "as above")]
struct PlainTarget<'a> {
    #[serde(borrow)]
    hashes: BTreeMap<String, &'a str>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "as above")]
struct PlainSignature<'a> {
    sig: &'a str,
}

/// The same for a document that is there already, to be signed by people.
///
/// # Errors
/// As [`read`].
pub fn check_document<T: Foreign>(document: &T) -> Result<(), String> {
    canonical::form(document).map_err(|unalike| unalike.to_string())?;
    let value = serde_json::to_value(document).map_err(|error| error.to_string())?;
    T::check_fields(&value)
}

fn check(value: &Value, shape: &Shape, place: &str) -> Result<(), String> {
    let items = || value.as_array().into_iter().flatten();
    let members = || value.as_object().into_iter().flatten();
    match shape {
        Shape::Any => Ok(()),
        Shape::Hex => match value.as_str() {
            Some(text) if is_lower_hex(text) => Ok(()),
            _ => Err(format!("{place} has {value}, where clients read pairs of digits in lower case; write it so")),
        },
        Shape::Text if value.is_string() => Ok(()),
        Shape::Text => Err(format!("{place} is {value}, where some clients read nothing but a string; leave it out")),
        Shape::SpecVersion if value.as_str().is_some_and(is_spec_version) => Ok(()),
        Shape::SpecVersion => Err(format!("its {place} is {value}, which is not 1.x.y; some clients refuse any other")),
        Shape::Object { known, others } => {
            for (name, member) in members() {
                let inner = join(place, name);
                match known.iter().find(|(field, _)| field == name) {
                    Some((_, shape)) => check(member, shape, &inner)?,
                    None => match known.iter().find(|(field, _)| *field == folded(name)) {
                        Some((field, _)) => {
                            return Err(format!(
                                "go-tuf takes {inner} for its field {field}; rename it, or leave it out"
                            ));
                        }
                        None => check(member, others, &inner)?,
                    },
                }
            }
            Ok(())
        }
        Shape::Map(shape) => members().try_for_each(|(name, member)| check(member, shape, &join(place, name))),
        Shape::Keys => members().try_for_each(|(id, key)| {
            let place = join(place, id);
            check(&Value::from(id.as_str()), &Shape::Hex, &place)?;
            check(key, &KEY, &place)
        }),
        Shape::KeyIds => {
            items().try_for_each(|id| check(id, &Shape::Hex, place))?;
            expect_distinct(items().filter_map(Value::as_str), place)
        }
        Shape::Roles => {
            items().try_for_each(|role| check(role, &DELEGATED_ROLE, place))?;
            let names = || items().filter_map(|role| role["name"].as_str());
            if let Some(name) = names().find(|name| name.is_empty() || name.parse::<RoleType>().is_ok()) {
                return Err(format!("{place} has a role {name:?}, which some clients refuse; give it another name"));
            }
            if !names().is_sorted_by_key(index) {
                return Err(format!(
                    "{place} has roles whose names are numbers, which some clients reorder; rename them"
                ));
            }
            expect_distinct(names(), place)
        }
    }
}

fn expect_distinct<'a>(texts: impl Iterator<Item = &'a str>, place: &str) -> Result<(), String> {
    let mut met = BTreeSet::new();
    match { texts }.find(|text| !met.insert(*text)) {
        Some(twice) => Err(format!("{place} lists {twice:?} twice, which some clients refuse; leave one of them out")),
        None => Ok(()),
    }
}

/// Where JavaScript has a member of this name: those whose names are indices of arrays come first.
fn index(name: &str) -> u32 {
    name.parse().ok().filter(|index: &u32| index.to_string() == name).unwrap_or(u32::MAX)
}

fn join(place: &str, name: &str) -> String {
    let name = name.escape_debug();
    if place.is_empty() { name.to_string() } else { format!("{place}.{name}") }
}

fn is_lower_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_spec_version(text: &str) -> bool {
    let mut numbers = text.split('.');
    let is_number = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    numbers.next() == Some("1") && matches!(text.split('.').count(), 2 | 3) && numbers.all(is_number)
}

/// A name as Go's decoder compares it with those of fields: where none is the same, one that differs in case only is taken
/// (<https://pkg.go.dev/encoding/json#Unmarshal>), also by these two characters, which are a small s and a K in other clothes.
fn folded(name: &str) -> String {
    name.chars()
        .map(|character| match character {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}
