//! The targets in a role's document, and when they are too many.

use super::error::GenerationError;
use super::policy::Policy;
use crate::layout::write_target;
use crate::layout::{Content, trie};
use crate::primitives::{Rejection, RoleName, TargetName, custom, json};
use crate::signing::VerifyError;
use std::collections::{BTreeMap, HashMap};
use tough::schema::{Target, Targets};

/// A role's document may have this many bytes. A role that would be larger is split, however few
/// targets it lists. Clients accept targets files of up to 5 MB by default, and smaller files are
/// better on a bad network.
const LARGEST_ROLE: usize = 1_000_000;

/// The most bytes of a target's JSON, not counting its name and custom metadata.
const BYTES_OF_A_TARGET: usize = 140;

/// The content of a role's document: its targets, or none if it delegates its names to bins.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub targets: HashMap<tough::TargetName, Target>,
    pub is_split: bool,
}

impl Listed {
    pub fn of(document: &Targets) -> Self {
        Self { targets: document.targets.clone(), is_split: trie::is_split(document) }
    }

    /// Removes targets whose custom metadata clients don't read alike, since they hide the whole
    /// document of `role` from some clients. Such targets were listed before that rule existed.
    /// Returns the removed targets, and why.
    pub fn drop_unalike(
        &mut self,
        role: &RoleName,
    ) -> Result<BTreeMap<TargetName, Rejection>, GenerationError> {
        let mut why = BTreeMap::new();
        for (name, target) in self.targets.iter().filter(|(_, target)| !target.custom.is_empty()) {
            if let Err(rejection) = custom::check(&target.custom) {
                why.insert(listed_name(role, name)?, rejection);
            }
        }
        for name in why.keys() {
            self.targets.remove(&key(name)?);
        }
        Ok(why)
    }

    /// Sets the content of `name`, or removes the target. Returns the previous one.
    pub fn put(
        &mut self,
        name: &TargetName,
        content: Option<&Content>,
    ) -> Result<Option<Target>, GenerationError> {
        let key = key(name)?;
        Ok(match content.map(write_target) {
            Some(target) => self.targets.insert(key, target),
            None => self.targets.remove(&key),
        })
    }

    /// The target that is listed as `name`.
    pub fn get(&self, name: &TargetName) -> Result<Option<&Target>, GenerationError> {
        Ok(self.targets.get(&key(name)?))
    }

    /// Undoes a change of `name`: restores `before`. `size` is the size of its bin.
    pub fn restore(
        &mut self,
        name: &TargetName,
        before: Option<Target>,
        size: &mut Size,
    ) -> Result<(), GenerationError> {
        let name = key(name)?;
        if let Some(target) = self.targets.remove(&name) {
            size.remove(&name, &target)?;
        }
        if let Some(target) = before {
            size.add(&name, &target)?;
            self.targets.insert(name, target);
        }
        Ok(())
    }

    /// The documents that replace this one of `role`: itself, or the delegating document and the
    /// bins below it if it lists too much. Only bins that are too large are split further, so the
    /// cost of a generation is that of its change.
    pub fn split_if_large(
        self,
        role: RoleName,
        policy: &Policy,
    ) -> Result<Vec<(RoleName, Self)>, GenerationError> {
        let depth = trie::depth(&role);
        if self.is_split
            || depth >= policy.deepest_bin
            || Size::of(self.targets.iter())?.fits(policy)
        {
            return Ok(vec![(role, self)]);
        }
        let mut below: BTreeMap<RoleName, Self> =
            trie::children(&role).into_iter().map(|child| (child, Self::default())).collect();
        for (name, target) in self.targets {
            let child = digits(&role, &name)?.get(..=depth).and_then(trie::bin);
            let bin = child
                .and_then(|child| below.get_mut(&child))
                .ok_or_else(|| GenerationError::Missing(role.clone()))?;
            bin.targets.insert(name, target);
        }
        let mut documents = vec![(role.clone(), Self::split())];
        for (child, listed) in below {
            documents.extend(listed.split_if_large(child, policy)?);
        }
        Ok(documents)
    }

    /// An empty `role` with the bins below it, down to `digits` digits. Each delegating role comes
    /// before the roles to which it delegates.
    pub fn grown(role: &RoleName, digits: usize) -> (Self, Vec<(RoleName, Self)>) {
        let mut below = Vec::new();
        if trie::depth(role) >= digits {
            return (Self::default(), below);
        }
        for child in trie::children(role) {
            let (own, deeper) = Self::grown(&child, digits);
            below.push((child, own));
            below.extend(deeper);
        }
        (Self::split(), below)
    }

    fn split() -> Self {
        Self { targets: HashMap::new(), is_split: true }
    }

    /// The prefixes of bins that would list too much and may not be split further, with their
    /// sizes.
    pub fn overfull(
        &self,
        role: &RoleName,
        policy: &Policy,
    ) -> Result<HashMap<String, Size>, GenerationError> {
        let mut sizes: HashMap<String, Size> = HashMap::new();
        if !self.is_split && !Size::of(self.targets.iter())?.fits(policy) {
            for (name, target) in &self.targets {
                sizes
                    .entry(deepest(role, &digits(role, name)?, policy))
                    .or_default()
                    .add(name, target)?;
            }
        }
        sizes.retain(|_, size| !size.fits(policy));
        Ok(sizes)
    }
}

/// The prefix of the deepest bin that these digits may have.
pub(crate) fn deepest(role: &RoleName, digits: &str, policy: &Policy) -> String {
    digits.chars().take(policy.deepest_bin.max(trie::depth(role))).collect()
}

/// How many targets are listed, and how many bytes they take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    targets: usize,
    bytes: usize,
}

impl Size {
    fn of<'a>(
        mut targets: impl Iterator<Item = (&'a tough::TargetName, &'a Target)>,
    ) -> Result<Self, GenerationError> {
        targets.try_fold(Self::default(), |mut size, (name, target)| {
            size.add(name, target)?;
            Ok(size)
        })
    }

    fn add(&mut self, name: &tough::TargetName, target: &Target) -> Result<(), GenerationError> {
        self.targets += 1;
        self.bytes += length(name, target)?;
        Ok(())
    }

    /// Subtracts a target that was added before.
    fn remove(&mut self, name: &tough::TargetName, target: &Target) -> Result<(), GenerationError> {
        let left = self.targets.checked_sub(1).zip(self.bytes.checked_sub(length(name, target)?));
        (self.targets, self.bytes) = left.ok_or_else(|| {
            GenerationError::Impossible(format!(
                "{} is taken out of a bin that never had it",
                name.raw()
            ))
        })?;
        Ok(())
    }

    /// Whether one document may list this much. A single target always fits, since it can't be
    /// split further.
    pub fn fits(self, policy: &Policy) -> bool {
        self.targets <= 1
            || self.targets <= policy.recorded.max_targets_per_bin && self.bytes <= LARGEST_ROLE
    }
}

/// The most bytes that a target takes in JSON.
fn length(name: &tough::TargetName, target: &Target) -> Result<usize, GenerationError> {
    let custom = if target.custom.is_empty() {
        0
    } else {
        json::to_vec(&target.custom).map_err(|error| impossible(name.raw(), &error))?.len()
    };
    Ok(name.raw().len() + BYTES_OF_A_TARGET + custom)
}

fn digits(role: &RoleName, name: &tough::TargetName) -> Result<String, GenerationError> {
    Ok(trie::digits(&listed_name(role, name)?))
}

/// A name that the document of `role` lists.
fn listed_name(role: &RoleName, name: &tough::TargetName) -> Result<TargetName, GenerationError> {
    let unreadable = |rejection: Rejection| {
        let why = format!("it lists a name that no target of this repository has: {rejection}");
        VerifyError::Unreadable { role: role.clone(), why }
    };
    Ok(name.raw().parse().map_err(unreadable)?)
}

/// The key under which a document lists `name`. tough resolves each of Tufline's names to itself.
fn key(name: &TargetName) -> Result<tough::TargetName, GenerationError> {
    tough::TargetName::new(name.as_str()).map_err(|error| impossible(name.as_str(), &error))
}

/// An error that no accepted target can cause.
fn impossible(name: &str, why: &dyn std::fmt::Display) -> GenerationError {
    GenerationError::Impossible(format!("the target {name} can't be listed ({why})"))
}
