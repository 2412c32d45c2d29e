//! Targets, and the roles to which they are delegated (TUF specification 4.5).

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::fields::Field;
use crate::file::{File, ListedKeys, MetadataType, SignedFields, TrustedKeys, keys};
use crate::hashes::Hasher;
use crate::json::Json;
use crate::key::PublicKey;
use crate::pattern;
use crate::snapshot::Snapshot;
use crate::time::Time;

/// A document of the targets role, or of a delegated role.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// The targets that the document itself lists.
    own: BTreeMap<String, Target>,
    delegations: Vec<Delegation>,
    keys: BTreeMap<String, PublicKey>,
}

/// The entry that lists a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The target's length in bytes.
    pub length: u64,
    /// The target's digests by the names of their hash functions.
    pub hashes: BTreeMap<String, Vec<u8>>,
    /// The custom metadata as compact JSON with sorted members, if there is any.
    pub custom: Option<String>,
}

impl Target {
    /// The digest, in hexadecimal, in the target's file name with consistent snapshots (TUF
    /// specification 5.7.3): SHA-256 if it is listed, else the first by the function's name.
    #[must_use]
    pub fn digest(&self) -> Option<String> {
        let digest = self.hashes.get("sha256").or_else(|| self.hashes.values().next())?;
        Some(hex::encode(digest))
    }

    /// A hasher for the target's bytes as they arrive.
    #[must_use]
    pub fn hasher(&self) -> Hasher<'_> {
        Hasher::new(&self.hashes)
    }
}

/// A delegation of names to one role or to several.
#[derive(Debug, Clone, PartialEq)]
struct Delegation {
    to: Names,
    terminating: bool,
    listed: ListedKeys,
}

#[derive(Debug, Clone, PartialEq)]
enum Names {
    /// One role, for names that match one of these patterns.
    Paths { role: String, patterns: Vec<String> },
    /// One role, for names whose SHA-256 begins with one of these prefixes.
    HashPrefixes { role: String, prefixes: Vec<String> },
    /// Many roles of one kind (TAP 15). The first `bits` bits of a name's SHA-256 are the number of
    /// its role.
    Succinct { prefix: String, bits: u32 },
}

/// A role in which a client looks for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegated {
    /// The name of the role.
    pub role: String,
    /// Whether the search ends after this role and the roles below it.
    pub terminating: bool,
    /// Whether the role is chosen by the digest of the name (it is a bin) and not by the name.
    pub by_digest: bool,
}

impl MetadataType for Targets {
    const TYPE: &'static str = "targets";

    fn read(SignedFields(signed): &SignedFields<'_>) -> Result<Self> {
        let target = |(name, field): (&str, Field<'_>)| {
            let custom = field.get("custom");
            let custom = if custom.is_missing() { None } else { custom.value().map(Json::to_text) };
            let target = Target {
                length: field.get("length").number()?,
                hashes: field.get("hashes").hashes()?,
                custom,
            };
            Ok((name.to_owned(), target))
        };
        let own = signed.get("targets").members()?.map(target).collect::<Result<_>>()?;
        let field = signed.get("delegations");
        if field.is_missing() {
            return Ok(Self { own, delegations: Vec::new(), keys: BTreeMap::new() });
        }
        let (roles, succinct) = (field.get("roles"), field.get("succinct_roles"));
        let mut delegations = Vec::new();
        if !roles.is_missing() {
            delegations =
                roles.items()?.map(|role| Delegation::read(&role)).collect::<Result<_>>()?;
        }
        if !succinct.is_missing() {
            delegations.push(Delegation::read_succinct(&succinct)?);
        }
        Ok(Self { own, delegations, keys: keys(&field.get("keys"))? })
    }
}

impl Delegation {
    fn read(field: &Field<'_>) -> Result<Self> {
        let name = field.get("name");
        let role = name.text()?.to_owned();
        if ["", "root", "timestamp", "snapshot", "targets"].contains(&role.as_str()) {
            return Err(name.refuse(format!("is {role:?}, which no delegated role may be called")));
        }
        let (paths, prefixes, terminating) =
            (field.get("paths"), field.get("path_hash_prefixes"), field.get("terminating"));
        let to = if prefixes.is_missing() {
            let patterns = if paths.is_missing() { Vec::new() } else { paths.texts()? };
            Names::Paths { role, patterns }
        } else {
            Names::HashPrefixes { role, prefixes: prefixes.texts()? }
        };
        let terminating = !terminating.is_missing() && terminating.boolean()?;
        Ok(Self { to, terminating, listed: ListedKeys::read(field)? })
    }

    fn read_succinct(field: &Field<'_>) -> Result<Self> {
        let length = field.get("bit_length");
        let bits = u32::try_from(length.positive()?).ok().filter(|bits| *bits <= 32);
        let bits = bits
            .ok_or_else(|| length.refuse("is above 32, which TAP 15 doesn't allow".to_owned()))?;
        let prefix = field.get("name_prefix").text()?.to_owned();
        Ok(Self {
            to: Names::Succinct { prefix, bits },
            terminating: true,
            listed: ListedKeys::read(field)?,
        })
    }

    /// The role in which a client looks for `name`.
    fn role_of(&self, name: &str, sha256: &[u8; 32]) -> Option<String> {
        match &self.to {
            Names::Paths { role, patterns } => {
                patterns.iter().any(|pattern| pattern::matches(pattern, name)).then(|| role.clone())
            }
            Names::HashPrefixes { role, prefixes } => {
                prefixes.iter().any(|prefix| begins(sha256, prefix)).then(|| role.clone())
            }
            Names::Succinct { prefix, bits } => {
                let [one, two, three, four, ..] = sha256;
                let bin = u64::from(u32::from_be_bytes([*one, *two, *three, *four])) >> (32 - bits);
                Some(succinct_role(prefix, *bits, bin))
            }
        }
    }

    /// Whether this delegation is to the role `name`.
    fn delegates_to(&self, name: &str) -> bool {
        match &self.to {
            Names::Paths { role, .. } | Names::HashPrefixes { role, .. } => role == name,
            Names::Succinct { prefix, bits } => {
                let bin =
                    name.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_prefix('-'));
                let bin = bin.and_then(|digits| u64::from_str_radix(digits, 16).ok());
                bin.is_some_and(|bin| bin >> bits == 0 && succinct_role(prefix, *bits, bin) == name)
            }
        }
    }
}

/// `PREFIX-NUMBER`, where every number has as many hexadecimal digits as the largest (TAP 15).
fn succinct_role(prefix: &str, bits: u32, bin: u64) -> String {
    let digits = bits.div_ceil(4) as usize;
    format!("{prefix}-{bin:0digits$x}")
}

/// Whether the hexadecimal digits of `sha256` begin with `prefix`.
fn begins(sha256: &[u8; 32], prefix: &str) -> bool {
    let digit = |index: usize| {
        let byte = sha256.get(index / 2)?;
        char::from_digit(u32::from(if index.is_multiple_of(2) { byte >> 4 } else { byte & 15 }), 16)
    };
    prefix.chars().enumerate().all(|(index, wanted)| digit(index) == Some(wanted))
}

impl Targets {
    pub(crate) fn listed(
        bytes: &[u8],
        role: &str,
        keys: &TrustedKeys<'_>,
        snapshot: &Snapshot,
        now: Time,
    ) -> Result<Self> {
        let not_listed =
            || Error::NoRole { role: role.to_owned(), judge: "the snapshot".to_owned() };
        let meta = snapshot.role(role).ok_or_else(not_listed)?;
        meta.check(bytes)?;
        let file = File::<Self>::read(bytes)?;
        file.verify(keys)?;
        file.expect_version(meta.version)?;
        file.expect_fresh(now)?;
        Ok(file.into_unverified())
    }

    /// Reads and checks the document of `role`, to which this document of the role `name` delegates
    /// (TUF specification 5.6).
    ///
    /// # Errors
    /// [`Error`] if `role` isn't listed, or its document is not the listed one, can't be read,
    /// doesn't verify or has expired.
    pub fn delegated(
        &self,
        name: &str,
        role: &str,
        bytes: &[u8],
        snapshot: &Snapshot,
        now: Time,
    ) -> Result<Self> {
        Self::listed(bytes, role, &self.role(name, role)?, snapshot, now)
    }

    /// The keys of `role`, to which this document of the role `name` delegates.
    ///
    /// # Errors
    /// [`Error::NoRole`] if it doesn't delegate to `role`.
    pub fn role(&self, name: &str, role: &str) -> Result<TrustedKeys<'_>> {
        let found = self.delegations.iter().find(|delegation| delegation.delegates_to(role));
        match found {
            Some(found) => Ok(TrustedKeys::new(role, name.to_owned(), &found.listed, &self.keys)),
            None => Err(Error::NoRole { role: role.to_owned(), judge: name.to_owned() }),
        }
    }

    /// The targets that the document itself lists.
    #[must_use]
    pub fn targets(&self) -> &BTreeMap<String, Target> {
        &self.own
    }

    /// The roles in `snapshot` to which this document delegates, in the order of its delegations. A
    /// role that the snapshot doesn't list is left out, since no client can read it.
    #[must_use]
    pub fn delegated_roles(&self, snapshot: &Snapshot) -> Vec<String> {
        let mut roles = Vec::new();
        for delegation in &self.delegations {
            match &delegation.to {
                Names::Paths { role, .. } | Names::HashPrefixes { role, .. } => {
                    roles.extend(snapshot.role(role).map(|_| role.clone()));
                }
                Names::Succinct { .. } => {
                    let ours = snapshot.roles().filter(|(role, _)| delegation.delegates_to(role));
                    roles.extend(ours.map(|(role, _)| role.to_string()));
                }
            }
        }
        roles
    }

    /// The roles in which clients look for `name`, in this order (TUF specification 5.6.7.2).
    #[must_use]
    pub fn roles_for(&self, name: &str) -> Vec<Delegated> {
        if self.delegations.is_empty() {
            return Vec::new();
        }
        let sha256 = Sha256::digest(name.as_bytes()).into();
        let role = |delegation: &Delegation| {
            let by_digest = !matches!(delegation.to, Names::Paths { .. });
            Some(Delegated {
                role: delegation.role_of(name, &sha256)?,
                terminating: delegation.terminating,
                by_digest,
            })
        };
        self.delegations.iter().filter_map(role).collect()
    }

    /// As [`Targets::roles_for`], up to the first terminating role, and whether there is one. If
    /// there is, a client also skips all roles that it was still to visit.
    #[must_use]
    pub fn roles_to_ask(&self, name: &str) -> (Vec<Delegated>, bool) {
        let mut roles = self.roles_for(name);
        let last = roles.iter().position(|delegated| delegated.terminating);
        roles.truncate(last.map_or(usize::MAX, |last| last + 1));
        (roles, last.is_some())
    }
}

/// The target that a client finds under a name, and the role that lists it: the first role in the
/// order of the search that has the name (TUF specification 5.6.7). `roles` are all verified roles,
/// including `targets`, where the search begins.
#[must_use]
pub fn find<'a>(roles: &'a BTreeMap<String, Targets>, name: &str) -> Option<(&'a str, &'a Target)> {
    let mut next = Vec::from([Targets::TYPE.to_owned()]);
    let mut visited = BTreeSet::new();
    while let Some(role) = next.pop() {
        if !visited.insert(role.clone()) {
            continue;
        }
        // Clients end the search at a role that they cannot read.
        let (role, targets) = roles.get_key_value(&role)?;
        if let Some(target) = targets.own.get(name) {
            return Some((role, target));
        }
        let (asked, ends) = targets.roles_to_ask(name);
        if ends {
            next.clear();
        }
        next.extend(asked.into_iter().rev().map(|delegated| delegated.role));
    }
    None
}
