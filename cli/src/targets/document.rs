//! A targets document in a file, with any number of signatures: a party's, or that of the top-level role.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::Path;

use anyhow::{Context, anyhow};
use aws_lc_rs::rand::SystemRandom;
use tough::schema::key::Key;
use tough::schema::{Signature, Signed, Target, Targets};
use tufline_tuf::delivery::check_form;
use tufline_tuf::generation::SPEC_VERSION;
use tufline_tuf::root::{key_id, read_public_key};
use tufline_tuf::{RoleName, Time, canonical};

use crate::root::signing_key::SigningKeyArguments;
use crate::{files, show};

/// The document of a role, signed or not.
pub struct RoleFile(Signed<Targets>);

/// The role whose document a file has: it is called after it.
pub fn role(path: &Path) -> anyhow::Result<RoleName> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
    let role = name.and_then(|name| name.parse().ok());
    role.with_context(|| format!("{} is not called ROLE.json after a role", path.display()))
}

impl RoleFile {
    /// Reads the file of `role`; `None` where there is none.
    pub fn read(role: &RoleName, path: &Path) -> anyhow::Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        check_form(role, &bytes)?;
        let file = serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(Self(file)))
    }

    /// The next version, or the first, without signatures. Where no `targets` are given they stay.
    pub fn next(
        before: Option<Self>,
        targets: Option<HashMap<tough::TargetName, Target>>,
        expires: Time,
    ) -> anyhow::Result<Self> {
        let mut signed = match before {
            Some(Self(before)) => {
                let mut signed = before.signed;
                signed.version = signed.version.checked_add(1).context("there is no higher version")?;
                signed.expires = expires;
                signed
            }
            None => Targets::new(SPEC_VERSION.into(), NonZeroU64::MIN, expires),
        };
        signed.targets = targets.unwrap_or(signed.targets);
        Ok(Self(Signed { signed, signatures: Vec::new() }))
    }

    /// The document.
    fn document(&self) -> &Targets {
        &self.0.signed
    }

    /// A document that nobody has signed.
    pub fn unsigned(document: Targets) -> Self {
        Self(Signed { signed: document, signatures: Vec::new() })
    }

    /// Adds a signature with `key`, and writes it in place of what is there, after showing what it is.
    pub async fn sign(mut self, role: &RoleName, path: &Path, key: &SigningKeyArguments) -> anyhow::Result<()> {
        let document = self.document();
        let count = document.targets.len() as u64;
        println!("{role} version {}, {}, expires {}", document.version, show::count(count, "target"), document.expires);
        let key = key.open().await?;
        let signature = key.sign(&self.message()?, &SystemRandom::new()).await;
        let signature = signature.map_err(|error| anyhow!("{error}")).context("the key does not sign")?;
        // As those who trust it read it: so both know it by one id.
        let public = read_public_key(&serde_json::to_string(&key.tuf_key())?, "that signs")?;
        self.add_signature(&public, signature)?;
        self.write(path)?;
        println!("signed in {}, by {} now", path.display(), show::count(self.0.signatures.len() as u64, "key"));
        Ok(())
    }

    /// What a key signs: the canonical form (TUF specification 4.2).
    fn message(&self) -> anyhow::Result<Vec<u8>> {
        Ok(canonical::form(&self.0.signed).context("not all clients would read it alike")?)
    }

    /// Adds the signature that `key` made, in place of its older one.
    fn add_signature(&mut self, key: &Key, signature: Vec<u8>) -> anyhow::Result<()> {
        let id = key_id(key)?;
        self.0.signatures.retain(|old| old.keyid != id);
        self.0.signatures.push(Signature { keyid: id, sig: signature.into() });
        Ok(())
    }

    /// Writes it in place of what is there, one field a line.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut tree = serde_json::to_value(&self.0)?;
        tree.sort_all_objects();
        let mut bytes = serde_json::to_vec_pretty(&tree)?;
        bytes.push(b'\n');
        files::write(&std::path::absolute(path)?, &bytes)
    }
}
