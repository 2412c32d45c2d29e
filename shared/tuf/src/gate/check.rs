//! The gate itself.

use super::verified::{VerifiedRole, verify_under_all};
use super::wanted::{OtherParties, WantedBlob, WantedDelivery, changed_deliveries, own_paths};
use crate::delegations::{PartyDocument, delegator};
use crate::generation::{Fault, Manifest, Refused, Versions, advance, snapshot as snapshot_of};
use crate::layout::{AddressedDraft, digest_of, trie};
use crate::primitives::{RoleName, SPEC_VERSION, Sha256, TargetName, Time};
use crate::signing::{Draft, RoleKeys, Signed, VerifyError, from_one, verify_published};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tough::schema::decoded::Decoded;
use tough::schema::{Delegations, Hashes, Metafile, Root, Snapshot, Targets, Timestamp};

/// A generation that passed the gate.
///
/// *Invariant*: only [`Gate::pass`] makes one.
#[derive(Debug, Clone)]
pub struct Checked {
    snapshot: Signed<Snapshot>,
}

impl Checked {
    /// The generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.snapshot.version()
    }

    /// The timestamp that shows this generation (TUF specification 4.6). It states the snapshot's length and digest:
    /// clients then take the length as their limit instead of their default.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] for version 0.
    pub fn timestamp(&self, version: u64, expires: Time) -> Result<Draft<Timestamp>, VerifyError> {
        let version = from_one(&RoleName::timestamp(), "version", version)?;
        let mut timestamp = Timestamp::new(SPEC_VERSION.into(), version, expires);
        let digest = self.snapshot.sha256();
        timestamp.meta.insert(
            "snapshot.json".into(),
            Metafile {
                length: Some(self.snapshot.bytes().len() as u64),
                hashes: Some(Hashes { sha256: Decoded::from(digest.as_bytes().to_vec()), _extra: HashMap::new() }),
                version: self.snapshot.document().version,
                _extra: HashMap::new(),
            },
        );
        Ok(Draft::new(RoleName::timestamp(), timestamp))
    }
}

/// A check in progress: it knows what it must still be given.
#[derive(Debug)]
pub struct Gate<'a> {
    roots: &'a [Root],
    candidate: &'a Manifest,
    now: Time,
    snapshot: Signed<Snapshot>,
    /// What devices see.
    published: &'a Versions,
    /// What the snapshot lists.
    versions: Versions,
    /// What must still be given, and the versions that the snapshot lists.
    roles: BTreeMap<RoleName, u64>,
    others: OtherParties<'a>,
    /// The documents of other parties that must still be given.
    deliveries: BTreeSet<RoleName>,
    /// What the roles that were given say of those below them.
    delegations: BTreeMap<RoleName, Delegations>,
    blobs: BTreeMap<Sha256, WantedBlob>,
    bad_targets: BTreeSet<TargetName>,
    /// The roles that must be as they were drafted.
    demanded: BTreeSet<RoleName>,
    /// What they were drafted as, as far as it was told.
    drafts: BTreeMap<RoleName, AddressedDraft>,
}

impl<'a> Gate<'a> {
    /// Checks the candidate's snapshot: signed under every root of `roots` (the newest, and the one about to be
    /// published), in force, listing exactly what is published with the changes of the generations since, the candidate's
    /// with them; none of them older. `published` says which versions devices see, `since` has the manifests of all
    /// generations after that up to the candidate.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn open(
        roots: &'a [Root],
        published: &'a Versions,
        since: &[Manifest],
        candidate: &'a Manifest,
        others: OtherParties<'a>,
        snapshot: &Bytes,
        now: Time,
    ) -> Result<Self, Refused> {
        let generation = candidate.generation;
        if roots.is_empty() {
            return Err(Refused { generation, fault: Fault::Root, reason: "there is no root".into() });
        }
        for root in roots {
            if root.expires <= now {
                let reason = format!("root version {} expired at {}; publish a new root", root.version, root.expires);
                return Err(Refused { generation, fault: Fault::Root, reason });
            }
        }
        let name = RoleName::snapshot();
        let refuse = |reason: String| Refused { generation, fault: Fault::Role(name.clone(), generation), reason };
        let snapshot: Signed<Snapshot> = verify_under_all(roots, &name, snapshot)
            .and_then(|snapshot| snapshot.expect_version(generation))
            .and_then(|snapshot| snapshot.expect_fresh(now))
            .map_err(|error| faulty(generation, &name, generation, &error))?;
        let (mut expected, mut changed) = (published.clone(), BTreeSet::from([RoleName::targets()]));
        for manifest in since {
            advance(&mut expected, manifest);
            changed.extend(manifest.changed.keys().cloned());
        }
        let void = |reason: String| Refused { generation, fault: Fault::Void, reason };
        let due = snapshot_of(candidate, &expected, others.candidate).map_err(|error| void(error.to_string()))?;
        if snapshot.document() != due.document() {
            return Err(refuse("the snapshot is not the one that its manifest says".into()));
        }
        for (role, seen) in &others.published.documents {
            if others.candidate.documents.get(role).is_none_or(|document| document.version < seen.version) {
                return Err(refuse(format!("role {role} is older than what is published")));
            }
        }
        if let Some(role) = changed.iter().find(|role| published.get(*role) > expected.get(*role)) {
            return Err(refuse(format!("role {role} is older than what is published")));
        }
        let first = candidate.first_to_expire();
        let first = others.candidate.first_to_expire().into_iter().fold(first, Ord::min);
        if first.expires <= now {
            let reason = format!("{} version {} expired at {}", first.role, first.version, first.expires);
            return Err(Refused { generation, fault: Fault::Expired(first.role, first.version), reason });
        }
        // With all above them, since they say whose signature counts; `targets` each time, since its keys stand in the root,
        // which may have changed meanwhile.
        let mut roles = BTreeMap::new();
        for role in changed {
            let mut above = Some(role);
            while let Some(role) = above {
                above = trie::parent(&role);
                let version = expected.get(&role).copied();
                let version = version.ok_or_else(|| void(format!("there is no version of {role}, which it needs")))?;
                roles.insert(role, version);
            }
        }
        Ok(Self {
            roots,
            candidate,
            now,
            snapshot,
            published,
            versions: expected,
            roles,
            others,
            deliveries: changed_deliveries(others),
            delegations: BTreeMap::new(),
            blobs: BTreeMap::new(),
            bad_targets: BTreeSet::new(),
            demanded: BTreeSet::new(),
            drafts: BTreeMap::new(),
        })
    }

    /// Demands of these roles that their documents be what a replay drafted ([`crate::replay`]): what sign made of it is not believed.
    pub fn demand(&mut self, roles: impl IntoIterator<Item = RoleName>) {
        self.demanded.extend(roles);
    }

    /// Says what a role was drafted as, before its document is given.
    pub fn expect(&mut self, draft: AddressedDraft) {
        self.drafts.insert(draft.record().role().clone(), draft);
    }

    /// The role documents to give to [`Gate::role`], in this order, with the versions that the snapshot lists: a role comes
    /// after the one above it, which says whose signature counts. These may ask for more.
    #[must_use]
    pub fn wanted_roles(&self) -> Vec<(RoleName, u64)> {
        let mut wanted: Vec<_> = self.roles.iter().map(|(role, version)| (role.clone(), *version)).collect();
        wanted.sort_by_key(|(role, _)| trie::depth(role));
        wanted
    }

    /// The keys that a bin must be signed with, once the role above it was checked.
    #[must_use]
    pub fn keys(&self, role: &RoleName) -> Option<RoleKeys> {
        RoleKeys::in_delegations(self.delegations.get(&trie::parent(role)?)?, role).ok()
    }

    /// Checks one role document: signatures, version, expiry, the names and digests of its targets, and that it hands its
    /// names on as the trie does. What it adds to `published` joins [`Gate::wanted_blobs`]: that is the document of the role
    /// that devices see now or, for a new bin, of the nearest role above that they see.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn role(&mut self, role: &RoleName, bytes: &Bytes, published: Option<&Targets>) -> Result<(), Refused> {
        self.check_role(role, self.verify(role, bytes), published)
    }

    /// The same where the signatures were checked before.
    ///
    /// # Errors
    /// [`Refused`], also where they were checked under other keys.
    pub fn verified_role(
        &mut self,
        role: &RoleName,
        verified: VerifiedRole,
        published: Option<&Targets>,
    ) -> Result<(), Refused> {
        let no_keys = || VerifyError::NoKeys { role: role.clone() };
        let document =
            if self.keys(role).as_ref() == Some(&verified.keys) { verified.document } else { Err(no_keys()) };
        self.check_role(role, document, published)
    }

    fn check_role(
        &mut self,
        role: &RoleName,
        document: Result<Signed<Targets>, VerifyError>,
        published: Option<&Targets>,
    ) -> Result<(), Refused> {
        let (version, generation) = (self.version(role)?, self.candidate.generation);
        let refuse = |reason: String| Refused { generation, fault: Fault::Role(role.clone(), version), reason };
        let signed = document
            .and_then(|signed| signed.expect_version(version))
            .and_then(|signed| if self.is_published(role, version) { Ok(signed) } else { signed.expect_alike() })
            .and_then(|signed| signed.expect_fresh(self.now))
            .map_err(|error| faulty(generation, role, version, &error))?;
        let drafted = self.drafts.remove(role);
        let is_due = drafted.as_ref().is_some_and(|draft| draft.record().document() == signed.document());
        if self.demanded.contains(role) && !is_due {
            return Err(refuse(format!("what is signed as version {version} of {role} is not what was drafted")));
        }
        let prefix = trie::prefix(role).ok_or_else(|| refuse(format!("{role} is no role of this repository")))?;
        for (name, target) in &signed.document().targets {
            let checked: TargetName = name.raw().parse().map_err(|refusal| refuse(format!("{role}: {refusal}")))?;
            if !trie::digits(&checked).starts_with(prefix) {
                return Err(refuse(format!("{role}: {checked} belongs in another bin")));
            }
            let sha256 = digest_of(target);
            let sha256 = sha256.ok_or_else(|| refuse(format!("{role}: the digest of {checked} is not a SHA-256")))?;
            // What is published stays.
            if published.is_some_and(|document| document.targets.get(name) == Some(target)) {
                continue;
            }
            if let Some((party, _)) = self.others.candidate.owner(&checked) {
                let reason = format!("{role}: {checked} is a name of {party}");
                return Err(Refused { generation, fault: Fault::Targets(vec![checked]), reason });
            }
            self.want_blob(checked, sha256, target.length);
        }
        self.check_delegations(role, signed.document(), published).map_err(refuse)?;
        self.roles.remove(role);
        Ok(())
    }

    /// The documents of other parties to give to [`Gate::delivery`], in this order, after all roles.
    #[must_use]
    pub fn wanted_deliveries(&self) -> Vec<WantedDelivery> {
        let OtherParties { published, candidate } = self.others;
        let wanted = |(role, document): (&RoleName, &PartyDocument)| WantedDelivery {
            role: role.clone(),
            version: document.version,
            published: published.documents.get(role).map(|seen| seen.version),
        };
        candidate.in_use().filter(|(role, _)| self.deliveries.contains(*role)).map(wanted).collect()
    }

    /// Checks a document of another party: that it is the one that the snapshot means, its signatures, expiry, and names. What it
    /// adds to `published` joins [`Gate::wanted_blobs`].
    ///
    /// # Errors
    /// [`Refused`].
    pub fn delivery(&mut self, role: &RoleName, bytes: &Bytes, published: Option<&Targets>) -> Result<(), Refused> {
        let (version, generation) = (self.version(role)?, self.candidate.generation);
        let document = self.others.candidate.documents.get(role);
        let refuse = |reason: String| Refused { generation, fault: Fault::Role(role.clone(), version), reason };
        if document.is_none_or(|document| document.sha256 != Sha256::of(bytes)) {
            return Err(refuse(format!("{role}: its document is not the one that the snapshot means")));
        }
        let is_published = self.others.published.documents.get(role) == document;
        let delegations = self.delegations.get(&delegator(role));
        let delegations = delegations.ok_or_else(|| refuse(format!("{role}: nothing delegates to it")))?;
        let signed: Signed<Targets> = RoleKeys::in_delegations(delegations, role)
            .and_then(|keys| verify_published(bytes.clone(), &keys))
            .and_then(|signed| signed.expect_version(version))
            .and_then(|signed| if is_published { Ok(signed) } else { signed.expect_alike() })
            .and_then(|signed| signed.expect_fresh(self.now))
            .map_err(|error| faulty(generation, role, version, &error))?;
        let (_, party) = self.others.candidate.party_of(role).ok_or_else(|| refuse(format!("{role} is no party's")))?;
        let own = own_paths(delegations, role).map_err(|error| refuse(error.to_string()))?;
        for (name, target) in &signed.document().targets {
            let checked: TargetName = name.raw().parse().map_err(|refusal| refuse(format!("{role}: {refusal}")))?;
            if ![&party.paths, &own].iter().all(|paths| paths.iter().any(|path| path.allows(checked.as_str()))) {
                return Err(refuse(format!("{role}: {checked} is not among its names")));
            }
            if published.is_none_or(|document| document.targets.get(name) != Some(target)) {
                match digest_of(target) {
                    Some(sha256) => self.want_blob(checked, sha256, target.length),
                    // There can't be such bytes.
                    None => _ = self.bad_targets.insert(checked),
                }
            }
        }
        if let Some(below) = &signed.document().delegations {
            if let Some(missing) =
                below.roles.iter().find(|below| !party.below.iter().any(|role| role.as_str() == below.name))
            {
                return Err(refuse(format!("{role} delegates to {}, which there is not", missing.name)));
            }
            self.delegations.insert(role.clone(), below.clone());
        }
        self.deliveries.remove(role);
        Ok(())
    }

    fn want_blob(&mut self, name: TargetName, sha256: Sha256, length: u64) {
        let wanted =
            self.blobs.entry(sha256).or_insert_with(|| WantedBlob { lengths: BTreeSet::new(), names: Vec::new() });
        wanted.lengths.insert(length);
        wanted.names.push(name);
    }

    /// Whether devices see this very document: a rule that it was made before takes nothing away from them.
    fn is_published(&self, role: &RoleName, version: u64) -> bool {
        self.published.get(role) == Some(&version)
    }

    /// The version of a role's document that the snapshot lists.
    ///
    /// # Errors
    /// [`Refused`] where it lists none: nothing then says which document is meant.
    pub fn version(&self, role: &RoleName) -> Result<u64, Refused> {
        let of_a_party = || Some(self.others.candidate.documents.get(role)?.version);
        self.versions.get(role).copied().or_else(of_a_party).ok_or_else(|| Refused {
            generation: self.candidate.generation,
            fault: Fault::Void,
            reason: format!("the snapshot lists no version of {role}"),
        })
    }

    /// Whose signature counts for `role` is said by the roots, or by the role above.
    fn verify(&self, role: &RoleName, bytes: &Bytes) -> Result<Signed<Targets>, VerifyError> {
        if trie::parent(role).is_none() {
            return verify_under_all(self.roots, role, bytes);
        }
        let keys = self.keys(role).ok_or_else(|| VerifyError::NoKeys { role: role.clone() })?;
        verify_published(bytes.clone(), &keys)
    }

    /// A role hands all of its names to all of its children, or none to any. Where it says something new of them, they are
    /// all looked at.
    fn check_delegations(
        &mut self,
        role: &RoleName,
        document: &Targets,
        published: Option<&Targets>,
    ) -> Result<(), String> {
        let (children, is_split) = (trie::children(role), trie::is_split(document));
        let bins_keys = self.candidate.bins_keys().listed();
        let due = self.others.candidate.delegations(role, is_split, &bins_keys).map_err(|error| error.to_string())?;
        if due != document.delegations {
            return Err(format!("{role} doesn't delegate as it should"));
        }
        if let Some(delegations) = due {
            self.delegations.insert(role.clone(), delegations);
        }
        if !is_split {
            return match children.iter().find(|child| self.versions.contains_key(child)) {
                Some(child) => Err(format!("{role} doesn't delegate to {child}, which there is")),
                None => Ok(()),
            };
        }
        if !document.targets.is_empty() {
            return Err(format!("{role} is split into bins, and lists targets all the same"));
        }
        let mut below = BTreeMap::new();
        for child in children {
            let version = self.versions.get(&child).copied();
            let missing = || format!("{role} delegates to {child}, which the snapshot does not list");
            let version = version.ok_or_else(missing)?;
            below.insert(child, version);
        }
        let to_bins = |document: &Targets| trie::is_split(document).then(|| document.delegations.clone());
        if published.and_then(to_bins).flatten() != document.delegations {
            self.roles.extend(below);
        }
        Ok(())
    }

    /// The blobs that must still be looked at with [`Gate::blob`].
    #[must_use]
    pub fn wanted_blobs(&self) -> Vec<Sha256> {
        self.blobs.keys().copied().collect()
    }

    /// Takes note of what is stored for `sha256`: its length and, where the store keeps one, its full-object SHA-256.
    pub fn blob(&mut self, sha256: &Sha256, found: Option<(u64, Option<Sha256>)>) {
        let Some(wanted) = self.blobs.remove(sha256) else { return };
        let sound = found.is_some_and(|(length, checksum)| {
            wanted.lengths.iter().eq([&length]) && checksum.is_none_or(|checksum| checksum == *sha256)
        });
        if !sound {
            self.bad_targets.extend(wanted.names);
        }
    }

    /// The checked generation, if everything was looked at and nothing was wrong.
    ///
    /// # Errors
    /// [`Refused`], naming every target whose bytes are missing or wrong.
    pub fn pass(self) -> Result<Checked, Refused> {
        let generation = self.candidate.generation;
        if let Some(role) = self.roles.keys().chain(&self.deliveries).next() {
            let version = self.version(role)?;
            let reason = format!("role {role} was not checked");
            return Err(Refused { generation, fault: Fault::Role(role.clone(), version), reason });
        }
        let unseen = self.blobs.into_values().flat_map(|wanted| wanted.names);
        let bad: BTreeSet<TargetName> = self.bad_targets.into_iter().chain(unseen).collect();
        if let Some(first) = bad.first() {
            let others = bad.len() - 1;
            let reason = format!("the bytes of {first} and of {others} other targets are missing or wrong");
            return Err(Refused { generation, fault: Fault::Targets(bad.into_iter().collect()), reason });
        }
        Ok(Checked { snapshot: self.snapshot })
    }
}

/// Says that this version of a role's document is not what it must be.
fn faulty(generation: u64, role: &RoleName, version: u64, error: &VerifyError) -> Refused {
    let fault = match error {
        VerifyError::Expired { .. } => Fault::Expired(role.clone(), version),
        _ => Fault::Role(role.clone(), version),
    };
    Refused { generation, fault, reason: error.to_string() }
}
