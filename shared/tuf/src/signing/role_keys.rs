//! The keys of a role, and how many of them must sign.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;

use super::error::VerifyError;
use super::keys::public_part;
use super::signature;
use crate::primitives::RoleName;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::schema::{Delegations, RoleType, Root, Signature};

/// The keys that may sign for a role, and how many of them must (TUF specification 4.3, ROLES).
///
/// *Invariant*: no public key occurs twice, so a threshold counts distinct keys and not key ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    role: RoleName,
    keys: BTreeMap<Decoded<Hex>, Key>,
    threshold: NonZeroU64,
}

impl RoleKeys {
    /// The keys that `root` lists for a top-level role.
    ///
    /// # Errors
    /// [`VerifyError::NoKeys`] if `root` doesn't list the role.
    pub fn in_root(root: &Root, role: &RoleName) -> Result<Self, VerifyError> {
        let no_keys = || VerifyError::NoKeys { role: role.clone() };
        let role_type: RoleType = role.as_str().parse().map_err(|_| no_keys())?;
        let entry = root.roles.get(&role_type).ok_or_else(no_keys)?;
        Ok(Self::listed(role, &entry.keyids, &root.keys, entry.threshold))
    }

    /// The keys that a targets role lists for a role that it delegates to (TUF specification 4.5,
    /// DELEGATIONS).
    ///
    /// # Errors
    /// [`VerifyError::NoKeys`] if `delegations` don't list the role.
    pub fn in_delegations(delegations: &Delegations, role: &RoleName) -> Result<Self, VerifyError> {
        let no_keys = || VerifyError::NoKeys { role: role.clone() };
        let entry = delegations
            .roles
            .iter()
            .find(|entry| entry.name == role.as_str())
            .ok_or_else(no_keys)?;
        Ok(Self::listed(role, &entry.keyids, &delegations.keys, entry.threshold))
    }

    /// Collects the keys behind `ids`. An id without a key is left out.
    fn listed(
        role: &RoleName,
        ids: &[Decoded<Hex>],
        known: &HashMap<Decoded<Hex>, Key>,
        threshold: NonZeroU64,
    ) -> Self {
        let (mut public_keys, mut keys) = (BTreeSet::new(), BTreeMap::new());
        for id in ids {
            if let Some(key) = known.get(id)
                && public_keys.insert(public_part(key))
            {
                keys.insert(id.clone(), key.clone());
            }
        }
        Self { role: role.clone(), keys, threshold }
    }

    /// The role that these keys sign for.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// How many of the keys must sign.
    #[must_use]
    pub fn threshold(&self) -> u64 {
        self.threshold.get()
    }

    /// These keys reduced to `key`, with threshold 1. What verifies under them was signed by `key`.
    /// `None` if `key` is not among them.
    #[must_use]
    pub fn only(&self, key: &Key) -> Option<Self> {
        let id = self.id_of(key)?;
        let keys = self.keys.get(id).map(|key| (id.clone(), key.clone())).into_iter().collect();
        Some(Self { role: self.role.clone(), keys, threshold: NonZeroU64::MIN })
    }

    /// The keys that may sign for the role.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// The id under which `key` may sign for this role; `None` if it may not.
    #[must_use]
    pub fn id_of(&self, key: &Key) -> Option<&Decoded<Hex>> {
        let wanted = public_part(key);
        self.keys.iter().find(|(_, candidate)| public_part(candidate) == wanted).map(|(id, _)| id)
    }

    /// Checks that enough of the keys signed `message`. It counts as `tough` does: a key id that
    /// signs twice is an error, and a signature by any other key is ignored (TUF specification 4.2,
    /// SIGNATURES).
    pub(super) fn expect_enough(
        &self,
        message: &[u8],
        signatures: &[Signature],
    ) -> Result<(), VerifyError> {
        let refuse = |why: String| VerifyError::Signatures { role: self.role.clone(), why };
        let mut ids = BTreeSet::new();
        if let Some(twice) = signatures.iter().find(|signature| !ids.insert(&signature.keyid)) {
            return Err(refuse(format!("key {} signs twice", hex::encode(&twice.keyid))));
        }
        let is_good = |signature: &&Signature| {
            self.keys
                .get(&signature.keyid)
                .is_some_and(|key| signature::is_good(key, message, &signature.sig))
        };
        let (good, needed) = (signatures.iter().filter(is_good).count(), self.threshold());
        if (good as u64) < needed {
            return Err(refuse(format!(
                "{good} of its signatures are valid, and {needed} must be"
            )));
        }
        Ok(())
    }
}
