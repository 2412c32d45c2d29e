//! Reads files that others wrote and signed, and that devices get unchanged: roots, and other
//! parties' documents.
//!
//! Our own documents are written from our types. These files are read into our types, and each
//! client reads them into its own. So this module refuses a file that some client reads differently
//! or not at all, before any device depends on it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use tough::schema::{self, RoleType, Root, Targets};
use tufline_metadata::canonical;

use super::document::RoleDocument;
use crate::primitives::field::{join, place};
use crate::primitives::plain::escaped;

/// What a field holds, and how clients read it.
enum Shape {
    /// Any value, which clients keep unchanged.
    Any,
    /// Bytes in hexadecimal. Lower case only, since some clients compare the text.
    Hex,
    /// A string, where some clients read nothing else.
    Text,
    /// The version of the specification: two or three numbers, the first of which is 1 (python-tuf
    /// and tuf-js refuse others).
    SpecVersion,
    /// An object with these known fields. All other fields have the shape `others`.
    Object { known: &'static [(&'static str, Shape)], others: &'static Shape },
    /// An object whose members may have any name, and whose values have this shape.
    Map(&'static Shape),
    /// An object that maps key ids to keys.
    Keys,
    /// A list of key ids, none repeated (python-tuf and tuf-js refuse that).
    KeyIds,
    /// A list of delegated roles. No name is repeated (python-tuf refuses that, tuf-js forgets the
    /// first). No name is empty or a top-level role's (python-tuf and tuf-js refuse both). Numeric
    /// names come first, in ascending order, which is how tuf-js sorts them (ECMA-262,
    /// `OrdinaryOwnPropertyKeys`).
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

const ROLE: Shape = Shape::Object {
    known: &[("keyids", Shape::KeyIds), ("threshold", Shape::Any)],
    others: &Shape::Any,
};

/// A public key (TUF specification 4.2). In `keyval`, tuf-js accepts strings only.
const KEY: Shape = Shape::Object {
    known: &[
        ("keytype", Shape::Text),
        ("scheme", Shape::Text),
        ("keyval", Shape::Object { known: &[("public", Shape::Text)], others: &Shape::Text }),
    ],
    others: &Shape::Any,
};

/// A document of the targets role, or of a delegated role (TUF specification 4.5).
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
                known: &[
                    ("keys", Shape::Keys),
                    ("roles", Shape::Roles),
                    ("succinct_roles", Shape::Any),
                ],
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

/// A type of document that others may have written.
pub trait Foreign: RoleDocument {
    /// Checks that all clients read these fields alike.
    ///
    /// # Errors
    /// One line that names the field that clients read differently, and says what to do.
    fn check_fields(fields: &Value) -> Result<(), String>;

    /// Checks that clients can read the file at all.
    ///
    /// # Errors
    /// One line that names the unreadable field.
    fn expect_readable(bytes: &[u8]) -> Result<(), String>;
}

fn readable<T: tufline_metadata::MetadataType>(bytes: &[u8]) -> Result<(), String> {
    tufline_metadata::File::<T>::read(bytes).map(drop).map_err(|error| error.to_string())
}

impl Foreign for Root {
    fn check_fields(fields: &Value) -> Result<(), String> {
        check(fields, &ROOT, "")
    }

    fn expect_readable(bytes: &[u8]) -> Result<(), String> {
        readable::<tufline_metadata::Root>(bytes)
    }
}

impl Foreign for Targets {
    fn check_fields(fields: &Value) -> Result<(), String> {
        check(fields, &TARGETS, "")
    }

    fn expect_readable(bytes: &[u8]) -> Result<(), String> {
        readable::<tufline_metadata::Targets>(bytes)
    }
}

/// Reads a file that any tool may have written, and checks that all clients read it alike.
///
/// # Errors
/// One line that names the field that some client reads differently, and says what to do.
pub fn read<T: Foreign>(bytes: &[u8]) -> Result<schema::Signed<T>, String> {
    // Our reader may refuse a file that clients refuse too. Then the clients' reason is given,
    // since it names the field.
    let told = |why: String| T::expect_readable(bytes).err().unwrap_or(why);
    let file = T::read_file(bytes).map_err(told)?;
    let text: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let (text, signatures) = (&text["signed"], &text["signatures"]);
    let read = serde_json::to_value(&file.signed).map_err(|error| error.to_string())?;
    if let Some(difference) = difference(text, &read, "signed") {
        return Err(told(difference));
    }
    for (index, signature) in signatures.as_array().into_iter().flatten().enumerate() {
        check(&signature["keyid"], &Shape::Hex, &format!("signatures.{index}.keyid"))?;
    }
    check_document(&file.signed)?;
    let plain = serde_path_to_error::deserialize::<_, Plain<'_>>(
        &mut serde_json::Deserializer::from_slice(bytes),
    );
    plain.map_err(|error| {
        let place = place("", error.path());
        format!(
            "its {place} is written with escapes, or twice, which go-tuf doesn't read; write it \
             plainly, once"
        )
    })?;
    Ok(file)
}

/// The first field that differs between the file and what our types read of it: some client reads
/// that field differently, or not at all.
fn difference(text: &Value, read: &Value, place: &str) -> Option<String> {
    match (text, read) {
        (Value::Object(text), Value::Object(read)) => {
            let inner = |(name, member): (&String, &Value)| match read.get(name) {
                Some(read) => difference(member, read, &join(place, name)),
                None => Some(format!("its {} {}", join(place, name), unread(place, name, member))),
            };
            let missing = || {
                let (name, value) = read.iter().find(|(name, _)| !text.contains_key(*name))?;
                Some(format!(
                    "its {} is missing, and some clients require it; write {}",
                    join(place, name),
                    as_read(value)
                ))
            };
            text.iter().find_map(inner).or_else(missing)
        }
        (Value::Array(text), Value::Array(read)) => {
            let is_shorter = read.len() < text.len();
            let inner = |(index, item): (usize, &Value)| match read.get(index) {
                Some(read) if !is_shorter => difference(item, read, &format!("{place}.{index}")),
                Some(read) if read == item => None,
                _ => Some(format!(
                    "its {place}.{index} is {}, which clients don't read; take it out",
                    short(item)
                )),
            };
            text.iter().enumerate().find_map(inner)
        }
        _ if text == read => None,
        _ => Some(format!(
            "its {place} is {}, which not all clients read; write {}",
            short(text),
            as_read(read)
        )),
    }
}

/// What to write in place of a value that not all clients read. For a missing boolean the right
/// value isn't known.
fn as_read(read: &Value) -> String {
    if read.is_boolean() { "true or false".into() } else { short(read) }
}

/// Why our types read nothing of the member `name` of the object at `place`, and what to do.
fn unread(place: &str, name: &str, member: &Value) -> String {
    match place {
        "signed.roles" => {
            "is a role besides root, timestamp, snapshot and targets, which some clients refuse; \
                           take it out"
                .into()
        }
        "signed.keys" if !is_lower_hex(name) => {
            "has a key id that is not pairs of hexadecimal digits in lower case; give it the id \
             that `tufline root add-key` gives it"
                .into()
        }
        "signed.keys" => format!(
            "is a key with keytype {}, scheme {} and public part {}, which not all clients can \
             use; replace it by one that is Ed25519, P-256 in PEM, or RSA-PSS with SHA-256",
            short(&member["keytype"]),
            short(&member["scheme"]),
            short(&member["keyval"]["public"])
        ),
        _ => format!("is {}, which not all clients read; take it out", short(member)),
    }
}

fn short(value: &Value) -> String {
    let text = escaped(&value.to_string());
    if text.chars().count() <= 60 { text } else { text.chars().take(60).chain(['…']).collect() }
}

/// Strings that go-tuf takes from the file without decoding escapes. They can be borrowed from the
/// file only if they have no escapes.
#[derive(Deserialize)]
#[expect(dead_code, reason = "reading them is the check")]
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

/// Makes the checks of [`read`] on a document that people are about to sign.
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
            _ => Err(format!(
                "{place} has {value}, where clients read pairs of lower-case hex digits; write \
                 those"
            )),
        },
        Shape::Text if value.is_string() => Ok(()),
        Shape::Text => Err(format!(
            "{place} is {value}, where some clients accept only a string; leave it out"
        )),
        Shape::SpecVersion if value.as_str().is_some_and(is_spec_version) => Ok(()),
        Shape::SpecVersion => Err(format!(
            "its {place} is {value}, which is not 1.x.y; some clients refuse any other"
        )),
        Shape::Object { known, others } => {
            for (name, member) in members() {
                let inner = join(place, name);
                match known.iter().find(|(field, _)| field == name) {
                    Some((_, shape)) => check(member, shape, &inner)?,
                    None => match known.iter().find(|(field, _)| *field == folded(name)) {
                        Some((field, _)) => {
                            return Err(format!(
                                "go-tuf takes {inner} for its field {field}; rename it, or leave \
                                 it out"
                            ));
                        }
                        None => check(member, others, &inner)?,
                    },
                }
            }
            Ok(())
        }
        Shape::Map(shape) => {
            members().try_for_each(|(name, member)| check(member, shape, &join(place, name)))
        }
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
            if let Some(name) =
                names().find(|name| name.is_empty() || name.parse::<RoleType>().is_ok())
            {
                return Err(format!(
                    "{place} has a role {name:?}, which some clients refuse; give it another name"
                ));
            }
            if !names().is_sorted_by_key(index) {
                return Err(format!(
                    "{place} has roles whose names are numbers, which some clients reorder; \
                     rename them"
                ));
            }
            expect_distinct(names(), place)
        }
    }
}

fn expect_distinct<'a>(texts: impl Iterator<Item = &'a str>, place: &str) -> Result<(), String> {
    let mut met = BTreeSet::new();
    match { texts }.find(|text| !met.insert(*text)) {
        Some(twice) => Err(format!(
            "{place} lists {twice:?} twice, which some clients refuse; leave one of them out"
        )),
        None => Ok(()),
    }
}

/// The position at which JavaScript lists a member of this name: array indices come first.
fn index(name: &str) -> u32 {
    name.parse().ok().filter(|index: &u32| index.to_string() == name).unwrap_or(u32::MAX)
}

fn is_lower_hex(text: &str) -> bool {
    text.len().is_multiple_of(2)
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_spec_version(text: &str) -> bool {
    let mut numbers = text.split('.');
    let is_number =
        |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    numbers.next() == Some("1")
        && matches!(text.split('.').count(), 2 | 3)
        && numbers.all(is_number)
}

/// A field name in the form in which Go's decoder compares it. If no name matches exactly, Go takes
/// one that differs only in case (<https://pkg.go.dev/encoding/json#Unmarshal>). Unicode folds the
/// long s (U+017F) to `s` and the Kelvin sign (U+212A) to `k`.
fn folded(name: &str) -> String {
    name.chars()
        .map(|character| match character {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}
