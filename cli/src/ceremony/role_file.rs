//! A targets document in a file, with any number of signatures: a delegated party's, or the
//! top-level role's.

use std::collections::HashMap;
use std::fmt::Write;
use std::num::NonZeroU64;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use aws_lc_rs::rand::SystemRandom;
use tough::schema::key::Key;
use tough::schema::{Signature, Signed, Target, Targets};
use tufline_folder::given;
use tufline_tuf::delivery::check_form;
use tufline_tuf::generation::SPEC_VERSION;
use tufline_tuf::plain::{escaped, find_hidden};
use tufline_tuf::root::{key_id, kind, read_public_key, short_id};
use tufline_tuf::{RoleName, Sha256, Time, canonical};

use super::signing_key::SigningKeyArguments;
use crate::files;
use crate::terminal::{expect_shown, lines, say};
use crate::text::{self, Quoted};

/// How many targets a signer is shown; the rest is only counted.
const MOST_SHOWN: usize = 20;

/// The document of a role, signed or not.
pub struct RoleFile(Signed<Targets>);

/// The role whose document a file holds, from the file's name: `ROLE.json`.
pub fn role_of(path: &Path) -> anyhow::Result<RoleName> {
    let name =
        path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
    let role = name.and_then(|name| name.parse().ok());
    role.with_context(|| format!("{} must be named after its role: ROLE.json", path.quoted()))
}

impl RoleFile {
    /// Reads the file of `role`; `None` if it doesn't exist.
    pub fn read(role: &RoleName, path: &Path) -> anyhow::Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let bytes = given::read(path).with_context(|| format!("cannot read {}", path.quoted()))?;
        check_form(role, &bytes)?;
        let file = serde_json::from_slice(&bytes)
            .with_context(|| format!("cannot read {}", path.quoted()))?;
        Ok(Some(Self(file)))
    }

    /// The next version of `before`, or the first, without signatures. Without `targets` it keeps
    /// those of `before`.
    pub fn next(
        before: Option<Self>,
        targets: Option<HashMap<tough::TargetName, Target>>,
        expires: Time,
    ) -> anyhow::Result<Self> {
        let mut signed = match before {
            Some(Self(before)) => {
                let mut signed = before.signed;
                signed.version =
                    signed.version.checked_add(1).context("there is no higher version")?;
                signed.expires = expires;
                signed
            }
            None => Targets::new(SPEC_VERSION.into(), NonZeroU64::MIN, expires),
        };
        signed.targets = targets.unwrap_or(signed.targets);
        Ok(Self(Signed { signed, signatures: Vec::new() }))
    }

    fn document(&self) -> &Targets {
        &self.0.signed
    }

    /// A document without signatures.
    pub fn unsigned(document: Targets) -> Self {
        Self(Signed { signed: document, signatures: Vec::new() })
    }

    /// Shows the document, adds a signature with `key`, and replaces the file at `path`.
    pub async fn sign(
        mut self,
        role: &RoleName,
        path: &Path,
        key: &SigningKeyArguments,
    ) -> anyhow::Result<()> {
        if let Some((place, character)) = find_hidden(&serde_json::to_value(&self.0.signed)?) {
            bail!(
                "{place} contains the character U+{:04X}, which a terminal does not show as it is, \
                 so no signer could see what they sign: take it out",
                u32::from(character)
            );
        }
        lines(&self.describe(role)?);
        expect_shown()?;
        let key = key.open().await?;
        let signature = key.sign(&self.message()?, &SystemRandom::new()).await;
        let signature =
            signature.map_err(|error| anyhow!("{error}")).context("the key does not sign")?;
        // Reading the key as those who trust it read it gives it the same key id.
        let public = read_public_key(&serde_json::to_vec(&key.tuf_key())?, "that signs")?;
        self.add_signature(&public, signature)?;
        self.write(path)?;
        say!(
            "signed in {}, by {} now",
            path.quoted(),
            text::count(self.0.signatures.len() as u64, "key")
        );
        Ok(())
    }

    /// The document as signers see it.
    fn describe(&self, role: &RoleName) -> anyhow::Result<String> {
        let (document, mut text) = (self.document(), String::new());
        let count = text::count(document.targets.len() as u64, "target");
        writeln!(
            text,
            "{role} version {}, {count}, expires {}",
            document.version, document.expires
        )?;
        // Signers in different places can compare this by telephone.
        writeln!(text, "contents {}", Sha256::of(&self.message()?))?;
        let mut targets: Vec<_> = document.targets.iter().collect();
        targets.sort_by_key(|(name, _)| name.raw());
        for (name, target) in targets.iter().take(MOST_SHOWN) {
            let digest = hex::encode(&target.hashes.sha256);
            writeln!(
                text,
                "  {} {}, sha256 {digest}",
                escaped(name.raw()),
                text::bytes(target.length)
            )?;
        }
        if let more @ 1.. = targets.len().saturating_sub(MOST_SHOWN) {
            writeln!(text, "  and {more} more: look at the file")?;
        }
        if let Some(delegations) = &document.delegations {
            writeln!(
                text,
                "delegates to {}, signed by",
                text::count(delegations.roles.len() as u64, "role")
            )?;
            let mut keys: Vec<_> = delegations.keys.iter().collect();
            keys.sort_by_key(|(id, _)| *id);
            for (id, key) in keys {
                writeln!(text, "  {} ({})", short_id(id), kind(key))?;
            }
        }
        for (field, value) in &document._extra {
            writeln!(text, "field {}: {}", escaped(field), text::plain_json(value))?;
        }
        Ok(text)
    }

    /// The bytes that a key signs: the canonical form (TUF specification 4.2).
    fn message(&self) -> anyhow::Result<Vec<u8>> {
        canonical::form(&self.0.signed).context("clients would read it differently")
    }

    /// Adds the signature that `key` made, or replaces its older one.
    fn add_signature(&mut self, key: &Key, signature: Vec<u8>) -> anyhow::Result<()> {
        let id = key_id(key)?;
        self.0.signatures.retain(|old| old.keyid != id);
        self.0.signatures.push(Signature { keyid: id, sig: signature.into() });
        Ok(())
    }

    /// Replaces the file at `path`, with one field per line.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut tree = serde_json::to_value(&self.0)?;
        tree.sort_all_objects();
        let mut bytes = serde_json::to_vec_pretty(&tree)?;
        bytes.push(b'\n');
        files::write(&std::path::absolute(path)?, &bytes)
    }
}
