//! What a role's document lists, and when that is too much.

use super::error::GenerationError;
use super::policy::Policy;
use crate::layout::write_target;
use crate::layout::{Content, trie};
use crate::primitives::{Rejection, RoleName, TargetName, custom, json};
use std::collections::{BTreeMap, HashMap};
use tough::schema::{Target, Targets};

/// Clients take 5 MB of a targets file at most by default, and less is better on a bad network: a role that would be larger
/// is split, however few its targets are. In bytes.
const LARGEST_ROLE: usize = 1_000_000;

/// The JSON of a target but for its name and custom metadata, at most.
const BYTES_OF_A_TARGET: usize = 140;

/// What a role's document lists: targets, or nothing where it hands its names to bins.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub targets: HashMap<tough::TargetName, Target>,
    pub is_split: bool,
}

impl Listed {
    pub fn of(document: &Targets) -> Self {
        Self { targets: document.targets.clone(), is_split: trie::is_split(document) }
    }

    /// Takes out what was listed before there was the rule for custom metadata, and what all else in the document is hidden by for some
    /// clients; answers why.
    pub fn drop_unalike(&mut self) -> BTreeMap<TargetName, Rejection> {
        let rejection = |(name, target): (&tough::TargetName, &Target)| {
            let rejection = custom::check(&target.custom).err()?;
            Some((name.clone(), name.raw().parse().ok()?, rejection))
        };
        let dropped: Vec<_> =
            self.targets.iter().filter(|(_, target)| !target.custom.is_empty()).filter_map(rejection).collect();
        let mut why = BTreeMap::new();
        for (key, name, rejection) in dropped {
            self.targets.remove(&key);
            why.insert(name, rejection);
        }
        why
    }

    /// Gives `name` this content, or removes it; answers what was there before.
    pub fn put(&mut self, name: &TargetName, content: Option<&Content>) -> Option<Target> {
        // Tufline's names are a subset of those that tough resolves to themselves.
        let key = tough::TargetName::new(name.as_str()).ok()?;
        match content.map(write_target) {
            Some(target) => self.targets.insert(key, target),
            None => self.targets.remove(&key),
        }
    }

    /// Takes back a change of `name`: there was `before`. `size` is that of its bin.
    pub fn restore(&mut self, name: &TargetName, before: Option<Target>, size: &mut Size) {
        let Ok(name) = tough::TargetName::new(name.as_str()) else { return };
        if let Some(target) = self.targets.remove(&name) {
            size.remove(&name, &target);
        }
        if let Some(target) = before {
            size.add(&name, &target);
            self.targets.insert(name, target);
        }
    }

    /// The documents that come of this one, that of `role`: itself or, where it lists too much, itself delegating and the
    /// bins below it. Only such as need it are split, so that the cost of a generation is that of its change.
    pub fn split_if_large(self, role: RoleName, policy: &Policy) -> Result<Vec<(RoleName, Self)>, GenerationError> {
        let depth = trie::depth(&role);
        if self.is_split || depth >= policy.deepest_bin || Size::of(self.targets.iter()).fits(policy) {
            return Ok(vec![(role, self)]);
        }
        let mut below: BTreeMap<RoleName, Self> =
            trie::children(&role).into_iter().map(|child| (child, Self::default())).collect();
        for (name, target) in self.targets {
            let child = digits(&role, &name)?.get(..=depth).and_then(trie::bin);
            let bin =
                child.and_then(|child| below.get_mut(&child)).ok_or_else(|| GenerationError::Missing(role.clone()))?;
            bin.targets.insert(name, target);
        }
        let mut documents = vec![(role.clone(), Self::split())];
        for (child, listed) in below {
            documents.extend(listed.split_if_large(child, policy)?);
        }
        Ok(documents)
    }

    /// A split role, and the bins below it down to `depth` digits, all of them empty.
    pub fn grown(role: RoleName, digits: usize) -> Vec<(RoleName, Self)> {
        if trie::depth(&role) >= digits {
            return vec![(role, Self::default())];
        }
        let mut documents = vec![(role.clone(), Self::split())];
        for child in trie::children(&role) {
            documents.extend(Self::grown(child, digits));
        }
        documents
    }

    fn split() -> Self {
        Self { targets: HashMap::new(), is_split: true }
    }

    /// The prefixes of bins that would list too much and are as deep as bins may be, with how much it is.
    pub fn overfull(&self, role: &RoleName, policy: &Policy) -> Result<HashMap<String, Size>, GenerationError> {
        let mut sizes: HashMap<String, Size> = HashMap::new();
        if !self.is_split && !Size::of(self.targets.iter()).fits(policy) {
            for (name, target) in &self.targets {
                sizes.entry(deepest(role, &digits(role, name)?, policy)).or_default().add(name, target);
            }
        }
        sizes.retain(|_, size| !size.fits(policy));
        Ok(sizes)
    }
}

/// The prefix of the deepest bin that there may be for these digits.
pub(crate) fn deepest(role: &RoleName, digits: &str, policy: &Policy) -> String {
    digits.chars().take(policy.deepest_bin.max(trie::depth(role))).collect()
}

/// How much is listed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    targets: usize,
    bytes: usize,
}

impl Size {
    fn of<'a>(targets: impl Iterator<Item = (&'a tough::TargetName, &'a Target)>) -> Self {
        targets.fold(Self::default(), |mut size, (name, target)| {
            size.add(name, target);
            size
        })
    }

    fn add(&mut self, name: &tough::TargetName, target: &Target) {
        self.targets += 1;
        self.bytes += length(name, target);
    }

    /// Takes one out.
    pub fn remove(&mut self, name: &tough::TargetName, target: &Target) {
        self.targets = self.targets.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(length(name, target));
    }

    /// Whether so much may stand in one document: few targets, in few bytes. One alone can't be split further.
    pub fn fits(self, policy: &Policy) -> bool {
        self.targets <= 1 || self.targets <= policy.recorded.max_targets_per_bin && self.bytes <= LARGEST_ROLE
    }
}

/// The JSON of a target, in bytes, at most.
fn length(name: &tough::TargetName, target: &Target) -> usize {
    let custom =
        if target.custom.is_empty() { 0 } else { json::to_vec(&target.custom).map_or(0, |custom| custom.len()) };
    name.raw().len() + BYTES_OF_A_TARGET + custom
}

fn digits(role: &RoleName, name: &tough::TargetName) -> Result<String, GenerationError> {
    let name: TargetName = name.raw().parse().map_err(|_| GenerationError::Missing(role.clone()))?;
    Ok(trie::digits(&name))
}
