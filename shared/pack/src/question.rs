//! A device's question: the query of `GET /pack`.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use tufline_metadata::escaped;

use crate::limits::{MOST_FILES, MOST_HAVE, MOST_ROLES};

/// The longest name of a role or target, in bytes. A device requests files with longer names by
/// their own paths.
const LONGEST_NAME: usize = 1024;

/// The files that a device has, and the files that it wants.
///
/// ```
/// use tufline_pack::{Have, Question, role_prefix};
///
/// let question = Question {
///     have: vec![
///         Have { role: "root".into(), version: 1 },
///         Have { role: "timestamp".into(), version: 7 },
///     ],
///     roles: vec![role_prefix("gateway/firmware.bin")],
///     ..Question::default()
/// };
/// let query = question.to_query();
/// assert_eq!(query, "have=1.root,7.timestamp&roles=303225ff");
/// assert_eq!(Question::parse(&query)?, question);
/// # Ok::<(), tufline_pack::Refused>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// The documents that it has: root, timestamp, snapshot, `targets`, then others in the order of
    /// its search.
    pub have: Vec<Have>,
    /// The [`digest`](crate::digest) of these documents' bytes in this order, without the
    /// timestamp's. `None` if the device has no dictionary.
    pub dict: Option<String>,
    /// The ways to the targets that it wants: the [`role_prefix`] of a target's name, or the name
    /// of another party's role.
    pub roles: Vec<String>,
    /// The names of small targets whose bytes it wants too.
    pub files: Vec<String>,
}

/// A document that a device has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Have {
    /// The name of the document's role.
    pub role: String,
    /// The version that the device has.
    pub version: u64,
}

/// The query can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the query's field {field} {why}")]
pub struct Refused {
    /// The field at fault.
    pub field: &'static str,
    /// What is wrong with the field.
    pub why: String,
}

/// The first 8 hexadecimal digits of SHA-256(target name). They lead to the bin with that name, and
/// don't reveal the name.
#[must_use]
pub fn role_prefix(name: &str) -> String {
    hex::encode(Sha256::digest(name)).chars().take(8).collect()
}

impl Question {
    /// The question as a percent-encoded query.
    #[must_use]
    pub fn to_query(&self) -> String {
        let have = self.have.iter().map(|have| format!("{}.{}", have.version, escaped(&have.role)));
        let mut query = format!("have={}", joined(have));
        if let Some(dict) = &self.dict {
            query.push_str("&dict=");
            query.push_str(dict);
        }
        for (field, names) in [("roles", &self.roles), ("files", &self.files)] {
            if !names.is_empty() {
                query =
                    format!("{query}&{field}={}", joined(names.iter().map(|name| escaped(name))));
            }
        }
        query
    }

    /// Reads a query. It ignores unknown fields.
    ///
    /// # Errors
    /// [`Refused`] if a field or a role occurs twice, or a field has too many names, a name that is
    /// not percent-encoded UTF-8, or an invalid version.
    pub fn parse(query: &str) -> Result<Self, Refused> {
        let have: Vec<_> = names(query, "have", MOST_HAVE)?
            .iter()
            .map(|text| Have::parse(text))
            .collect::<Result<_, _>>()?;
        // A device has one document of each role. To name a large one repeatedly would only make
        // work for the server.
        let roles: BTreeSet<&str> = have.iter().map(|have: &Have| have.role.as_str()).collect();
        if roles.len() < have.len() {
            return Err(refused("have", "has a role twice"));
        }
        let dict = names(query, "dict", 1)?.pop();
        if dict.as_ref().is_some_and(|dict| dict.len() != 16 || !dict.bytes().all(is_hex)) {
            return Err(refused("dict", "is not 16 lower-case hexadecimal digits"));
        }
        Ok(Self {
            have,
            dict,
            roles: names(query, "roles", MOST_ROLES)?,
            files: names(query, "files", MOST_FILES)?,
        })
    }

    /// The same question from a device whose documents are not known, except root and timestamp, of
    /// which the versions suffice.
    #[must_use]
    pub fn without_documents(&self) -> Self {
        let have =
            self.have.iter().filter(|have| ["root", "timestamp"].contains(&have.role.as_str()));
        Self { have: have.cloned().collect(), ..self.clone() }
    }

    /// The version of a role that the device has.
    #[must_use]
    pub fn version(&self, role: &str) -> Option<u64> {
        self.have.iter().find(|have| have.role == role).map(|have| have.version)
    }
}

impl Have {
    /// Accepts only the spelling of a version that [`Question::to_query`] writes.
    fn parse(text: &str) -> Result<Self, Refused> {
        let (version, role) =
            text.split_once('.').ok_or_else(|| refused("have", "has no VERSION.ROLE"))?;
        let number = version
            .parse::<u64>()
            .ok()
            .filter(|number| *number > 0 && number.to_string() == version);
        let version = number
            .ok_or_else(|| refused("have", "has a version that is not a whole number from 1"))?;
        Ok(Self { role: role.to_owned(), version })
    }
}

/// The names in a field; empty if the field is absent or empty.
fn names(query: &str, field: &'static str, most: usize) -> Result<Vec<String>, Refused> {
    let mut values =
        query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(name, _)| *name == field);
    let Some((_, value)) = values.next().filter(|(_, value)| !value.is_empty()) else {
        return Ok(Vec::new());
    };
    if values.next().is_some() {
        return Err(refused(field, "occurs twice"));
    }
    if value.split(',').nth(most).is_some() {
        return Err(refused(field, &format!("has more than {most} names")));
    }
    value.split(',').map(|name| unescaped(field, name)).collect()
}

fn unescaped(field: &'static str, text: &str) -> Result<String, Refused> {
    let name = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| refused(field, "is not percent-encoded UTF-8"))?;
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(refused(
            field,
            &format!("has a name that is empty or longer than {LONGEST_NAME} bytes"),
        ));
    }
    Ok(name.into_owned())
}

fn joined(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(",")
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn refused(field: &'static str, why: &str) -> Refused {
    Refused { field, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::collection::vec as some;
    use proptest::prelude::*;

    use super::*;

    fn question() -> impl Strategy<Value = Question> {
        let name = "\\PC{1,20}";
        let have = (name, 1u64..).prop_map(|(role, version)| Have { role, version });
        let dict = proptest::option::of("[0-9a-f]{16}");
        (some(have, 0..=MOST_HAVE), dict, some(name, 0..=MOST_ROLES), some(name, 0..=MOST_FILES))
            .prop_map(|(have, dict, roles, files)| {
                let mut met = BTreeSet::new();
                let have =
                    have.into_iter().filter(|have: &Have| met.insert(have.role.clone())).collect();
                Question { have, dict, roles, files }
            })
    }

    proptest! {
        #[test]
        fn a_query_is_read_back(question in question()) {
            let query = question.to_query();
            prop_assert!(query.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(Question::parse(&query), Ok(question));
        }

        #[test]
        fn any_text_is_read_or_refused(query in "(have|dict|roles|files|&|=|,|%|[0-9a-z.]|\\PC){0,80}") {
            if let Ok(question) = Question::parse(&query) {
                prop_assert_eq!(Question::parse(&question.to_query()), Ok(question));
            }
        }
    }

    #[test]
    fn what_it_looks_like() {
        let have = |role: &str, version| Have { role: role.to_owned(), version };
        let question = Question {
            have: vec![have("root", 1), have("timestamp", 120), have("a/b", 7)],
            dict: Some("0123456789abcdef".into()),
            roles: vec![role_prefix("gateway/fw.bin"), "a,b".into()],
            files: vec!["x.json".into()],
        };
        let query = "have=1.root,120.timestamp,7.a%2Fb&dict=0123456789abcdef&roles=e79912c7,a%2Cb&files=x.json";
        assert_eq!(question.to_query(), query);
        assert_eq!(Question::parse(&format!("new=1&{query}&other")), Ok(question));
    }

    #[test]
    fn other_queries_are_refused() {
        for (query, field) in [
            ("have=1.root&have=2.root", "have"),
            ("have=root", "have"),
            ("have=0.root", "have"),
            ("have=01.root", "have"),
            ("have=+1.root", "have"),
            ("have=18446744073709551616.root", "have"),
            ("have=1.root,", "have"),
            ("have=1.%FF", "have"),
            ("have=1.a,2.%61", "have"),
            (&format!("have={}", ["1.a"; 33].join(",")), "have"),
            ("dict=0123456789ABCDEF", "dict"),
            ("dict=00", "dict"),
            (&format!("roles={}", ["a"; 17].join(",")), "roles"),
            (&format!("roles={}", "a".repeat(1025)), "roles"),
            (&format!("files={}", ["a"; 5].join(",")), "files"),
        ] {
            assert_eq!(Question::parse(query).unwrap_err().field, field, "{query}");
        }
        assert_eq!(Question::parse(""), Ok(Question::default()));
        assert_eq!(Question::parse("have=&roles=&dict="), Ok(Question::default()));
    }
}
