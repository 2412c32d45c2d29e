//! Checks a signed generation, document by document.

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
    /// The generation's number, which is its snapshot's version.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.snapshot.version()
    }

    /// The timestamp that shows this generation (TUF specification 4.6). It states the snapshot's
    /// length and digest. Clients then use that length as their limit, instead of a default.
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
                hashes: Some(Hashes {
                    sha256: Decoded::from(digest.as_bytes().to_vec()),
                    _extra: HashMap::new(),
                }),
                version: self.snapshot.document().version,
                _extra: HashMap::new(),
            },
        );
        Ok(Draft::new(RoleName::timestamp(), timestamp))
    }
}

/// A check in progress. It knows which documents and blobs are still wanted.
#[derive(Debug)]
pub struct Gate<'a> {
    roots: &'a [Root],
    candidate: &'a Manifest,
    now: Time,
    snapshot: Signed<Snapshot>,
    /// The versions that devices see.
    published: &'a Versions,
    /// The versions that the snapshot lists.
    versions: Versions,
    /// The roles whose documents are still wanted, with the versions that the snapshot lists.
    roles: BTreeMap<RoleName, u64>,
    others: OtherParties<'a>,
    /// The other parties' roles whose documents are still wanted.
    deliveries: BTreeSet<RoleName>,
    /// The delegations of the roles that were checked.
    delegations: BTreeMap<RoleName, Delegations>,
    blobs: BTreeMap<Sha256, WantedBlob>,
    bad_targets: BTreeSet<TargetName>,
    /// The roles whose documents must equal their drafts.
    demanded: BTreeSet<RoleName>,
    /// The drafts that the caller gave so far.
    drafts: BTreeMap<RoleName, AddressedDraft>,
}

impl<'a> Gate<'a> {
    /// Checks the candidate's snapshot. Every root of `roots` (the newest, and one that is about to
    /// be published) must verify it. It must not be expired, and must list exactly the published
    /// versions with the changes of the generations since then, including the candidate's. No
    /// version may decrease. `published` are the versions that devices see. `since` are the
    /// manifests of all later generations up to the candidate.
    ///
    /// # Errors
    /// [`Refused`] says what is at fault.
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
            return Err(Refused {
                generation,
                fault: Fault::Root,
                reason: "there is no root".into(),
            });
        }
        for root in roots {
            if root.expires <= now {
                let reason = format!(
                    "root version {} expired at {}; publish a new root",
                    root.version, root.expires
                );
                return Err(Refused { generation, fault: Fault::Root, reason });
            }
        }
        let name = RoleName::snapshot();
        let refuse = |reason: String| Refused {
            generation,
            fault: Fault::Role(name.clone(), generation),
            reason,
        };
        let snapshot: Signed<Snapshot> = verify_under_all(roots, &name, snapshot)
            .and_then(|snapshot| snapshot.expect_version(generation))
            .and_then(|snapshot| snapshot.expect_fresh(now))
            .map_err(|error| faulty(generation, &name, generation, &error))?;
        let (mut expected, mut changed) =
            (published.clone(), BTreeSet::from([RoleName::targets()]));
        for manifest in since {
            advance(&mut expected, manifest);
            changed.extend(manifest.changed.keys().cloned());
        }
        let void = |reason: String| Refused { generation, fault: Fault::Void, reason };
        let due = snapshot_of(candidate, &expected, others.candidate)
            .map_err(|error| void(error.to_string()))?;
        if snapshot.document() != due.document() {
            return Err(refuse("the snapshot is not the one that its manifest describes".into()));
        }
        for (role, seen) in &others.published.documents {
            if others
                .candidate
                .documents
                .get(role)
                .is_none_or(|document| document.version < seen.version)
            {
                return Err(refuse(format!("role {role} is older than what is published")));
            }
        }
        if let Some(role) = changed.iter().find(|role| published.get(*role) > expected.get(*role)) {
            return Err(refuse(format!("role {role} is older than what is published")));
        }
        let first = candidate.first_to_expire();
        let first = others.candidate.first_to_expire().into_iter().fold(first, Ord::min);
        if first.expires <= now {
            let reason =
                format!("{} version {} expired at {}", first.role, first.version, first.expires);
            return Err(Refused {
                generation,
                fault: Fault::Expired(first.role, first.version),
                reason,
            });
        }
        // Include all roles above, since they determine whose signature counts. Include `targets`
        // each time: the root lists its keys, and may have changed.
        let mut roles = BTreeMap::new();
        for role in changed {
            let mut above = Some(role);
            while let Some(role) = above {
                above = trie::parent(&role);
                let version = expected.get(&role).copied();
                let version = version.ok_or_else(|| {
                    void(format!("there is no version of {role}, which it needs"))
                })?;
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

    /// Requires that the documents of these roles equal the drafts of a replay ([`crate::replay`]),
    /// since publish does not trust sign.
    pub fn demand(&mut self, roles: impl IntoIterator<Item = RoleName>) {
        self.demanded.extend(roles);
    }

    /// Takes the draft of a role, before its signed document is given.
    pub fn expect(&mut self, draft: AddressedDraft) {
        self.drafts.insert(draft.record().role().clone(), draft);
    }

    /// The role documents to give to [`Gate::role`], with the versions that the snapshot lists, in
    /// this order: each role after the one above it, which determines whose signature counts.
    /// Giving a document may add more to this list.
    #[must_use]
    pub fn wanted_roles(&self) -> Vec<(RoleName, u64)> {
        let mut wanted: Vec<_> =
            self.roles.iter().map(|(role, version)| (role.clone(), *version)).collect();
        wanted.sort_by_key(|(role, _)| trie::depth(role));
        wanted
    }

    /// The keys that may sign a bin. Known once the role above it was checked.
    #[must_use]
    pub fn keys(&self, role: &RoleName) -> Option<RoleKeys> {
        RoleKeys::in_delegations(self.delegations.get(&trie::parent(role)?)?, role).ok()
    }

    /// Checks a role document: signatures, version, expiry, the names and digests of its targets,
    /// and that it delegates as the trie requires. `published` is the document of the role that
    /// devices see now or, for a new bin, of the nearest role above it that they see. The blobs of
    /// targets that are not in `published` join [`Gate::wanted_blobs`].
    ///
    /// # Errors
    /// [`Refused`] says what is at fault.
    pub fn role(
        &mut self,
        role: &RoleName,
        bytes: &Bytes,
        published: Option<&Targets>,
    ) -> Result<(), Refused> {
        self.check_role(role, self.verify(role, bytes), published)
    }

    /// As [`Gate::role`], for a document whose signatures were checked before.
    ///
    /// # Errors
    /// [`Refused`], also if the signatures were checked under other keys.
    pub fn verified_role(
        &mut self,
        role: &RoleName,
        verified: VerifiedRole,
        published: Option<&Targets>,
    ) -> Result<(), Refused> {
        let no_keys = || VerifyError::NoKeys { role: role.clone() };
        let document = if self.keys(role).as_ref() == Some(&verified.keys) {
            verified.document
        } else {
            Err(no_keys())
        };
        self.check_role(role, document, published)
    }

    fn check_role(
        &mut self,
        role: &RoleName,
        document: Result<Signed<Targets>, VerifyError>,
        published: Option<&Targets>,
    ) -> Result<(), Refused> {
        let (version, generation) = (self.version(role)?, self.candidate.generation);
        let refuse = |reason: String| Refused {
            generation,
            fault: Fault::Role(role.clone(), version),
            reason,
        };
        let signed = document
            .and_then(|signed| signed.expect_version(version))
            .and_then(|signed| {
                if self.is_published(role, version) { Ok(signed) } else { signed.expect_alike() }
            })
            .and_then(|signed| signed.expect_fresh(self.now))
            .map_err(|error| faulty(generation, role, version, &error))?;
        let drafted = self.drafts.remove(role);
        let is_due =
            drafted.as_ref().is_some_and(|draft| draft.record().document() == signed.document());
        if self.demanded.contains(role) && !is_due {
            return Err(refuse(format!(
                "what is signed as version {version} of {role} is not what was drafted"
            )));
        }
        let prefix = trie::prefix(role)
            .ok_or_else(|| refuse(format!("{role} is not a role of this repository")))?;
        for (name, target) in &signed.document().targets {
            let checked: TargetName =
                name.raw().parse().map_err(|refusal| refuse(format!("{role}: {refusal}")))?;
            if !trie::digits(&checked).starts_with(prefix) {
                return Err(refuse(format!("{role}: {checked} belongs in another bin")));
            }
            let sha256 = digest_of(target);
            let sha256 = sha256.ok_or_else(|| {
                refuse(format!("{role}: the digest of {checked} is not a SHA-256"))
            })?;
            // A published target stays, even if it breaks a newer rule.
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

    /// The other parties' documents to give to [`Gate::delivery`], in this order, after all roles.
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

    /// Checks a document of another party: that the snapshot lists it, and its signatures, expiry
    /// and names. The blobs of targets that are not in `published` join [`Gate::wanted_blobs`].
    ///
    /// # Errors
    /// [`Refused`] says what is at fault.
    pub fn delivery(
        &mut self,
        role: &RoleName,
        bytes: &Bytes,
        published: Option<&Targets>,
    ) -> Result<(), Refused> {
        let (version, generation) = (self.version(role)?, self.candidate.generation);
        let document = self.others.candidate.documents.get(role);
        let refuse = |reason: String| Refused {
            generation,
            fault: Fault::Role(role.clone(), version),
            reason,
        };
        if document.is_none_or(|document| document.sha256 != Sha256::of(bytes)) {
            return Err(refuse(format!(
                "{role}: its document is not the one that the snapshot means"
            )));
        }
        let is_published = self.others.published.documents.get(role) == document;
        let delegations = self.delegations.get(&delegator(role));
        let delegations =
            delegations.ok_or_else(|| refuse(format!("{role}: nothing delegates to it")))?;
        let signed: Signed<Targets> = RoleKeys::in_delegations(delegations, role)
            .and_then(|keys| verify_published(bytes.clone(), &keys))
            .and_then(|signed| signed.expect_version(version))
            .and_then(|signed| if is_published { Ok(signed) } else { signed.expect_alike() })
            .and_then(|signed| signed.expect_fresh(self.now))
            .map_err(|error| faulty(generation, role, version, &error))?;
        let (_, party) = self
            .others
            .candidate
            .party_of(role)
            .ok_or_else(|| refuse(format!("{role} belongs to no party")))?;
        let own = own_paths(delegations, role).map_err(|error| refuse(error.to_string()))?;
        for (name, target) in &signed.document().targets {
            let checked: TargetName =
                name.raw().parse().map_err(|refusal| refuse(format!("{role}: {refusal}")))?;
            if ![&party.paths, &own]
                .iter()
                .all(|paths| paths.iter().any(|path| path.allows(checked.as_str())))
            {
                return Err(refuse(format!("{role}: {checked} is not among its names")));
            }
            if published.is_none_or(|document| document.targets.get(name) != Some(target)) {
                match digest_of(target) {
                    Some(sha256) => self.want_blob(checked, sha256, target.length),
                    // No stored blob can have such a digest.
                    None => _ = self.bad_targets.insert(checked),
                }
            }
        }
        if let Some(below) = &signed.document().delegations {
            if let Some(missing) = below
                .roles
                .iter()
                .find(|below| !party.below.iter().any(|role| role.as_str() == below.name))
            {
                return Err(refuse(format!(
                    "{role} delegates to {}, which doesn't exist",
                    missing.name
                )));
            }
            self.delegations.insert(role.clone(), below.clone());
        }
        self.deliveries.remove(role);
        Ok(())
    }

    fn want_blob(&mut self, name: TargetName, sha256: Sha256, length: u64) {
        let wanted = self
            .blobs
            .entry(sha256)
            .or_insert_with(|| WantedBlob { lengths: BTreeSet::new(), names: Vec::new() });
        wanted.lengths.insert(length);
        wanted.names.push(name);
    }

    /// Whether devices already see this document. Rules that are newer than the document must not
    /// take it away from them.
    fn is_published(&self, role: &RoleName, version: u64) -> bool {
        self.published.get(role) == Some(&version)
    }

    /// The version of a role's document that the snapshot lists.
    ///
    /// # Errors
    /// [`Refused`] if it lists none, since nothing then identifies the document.
    pub fn version(&self, role: &RoleName) -> Result<u64, Refused> {
        let of_a_party = || Some(self.others.candidate.documents.get(role)?.version);
        self.versions.get(role).copied().or_else(of_a_party).ok_or_else(|| Refused {
            generation: self.candidate.generation,
            fault: Fault::Void,
            reason: format!("the snapshot lists no version of {role}"),
        })
    }

    /// Verifies a document under the keys that the roots list for `role`, or that the role above
    /// lists.
    fn verify(&self, role: &RoleName, bytes: &Bytes) -> Result<Signed<Targets>, VerifyError> {
        if trie::parent(role).is_none() {
            return verify_under_all(self.roots, role, bytes);
        }
        let keys = self.keys(role).ok_or_else(|| VerifyError::NoKeys { role: role.clone() })?;
        verify_published(bytes.clone(), &keys)
    }

    /// Checks that a role delegates all of its names to all of its children, or none to any. If its
    /// delegations changed, all children are checked.
    fn check_delegations(
        &mut self,
        role: &RoleName,
        document: &Targets,
        published: Option<&Targets>,
    ) -> Result<(), String> {
        let (children, is_split) = (trie::children(role), trie::is_split(document));
        let bins_keys = self.candidate.bins_keys().listed();
        let due = self
            .others
            .candidate
            .delegations(role, is_split, &bins_keys)
            .map_err(|error| error.to_string())?;
        if due != document.delegations {
            return Err(format!("{role} doesn't delegate as it should"));
        }
        if let Some(delegations) = due {
            self.delegations.insert(role.clone(), delegations);
        }
        if !is_split {
            return match children.iter().find(|child| self.versions.contains_key(child)) {
                Some(child) => Err(format!("{role} doesn't delegate to {child}, which exists")),
                None => Ok(()),
            };
        }
        if !document.targets.is_empty() {
            return Err(format!("{role} is split into bins, but lists targets itself"));
        }
        let mut below = BTreeMap::new();
        for child in children {
            let version = self.versions.get(&child).copied();
            let missing =
                || format!("{role} delegates to {child}, which the snapshot does not list");
            let version = version.ok_or_else(missing)?;
            below.insert(child, version);
        }
        let to_bins =
            |document: &Targets| trie::is_split(document).then(|| document.delegations.clone());
        if published.and_then(to_bins).flatten() != document.delegations {
            self.roles.extend(below);
        }
        Ok(())
    }

    /// The blobs to look up for [`Gate::blob`].
    #[must_use]
    pub fn wanted_blobs(&self) -> Vec<Sha256> {
        self.blobs.keys().copied().collect()
    }

    /// Takes what the store has for `sha256`: the blob's length and, if the store keeps one, its
    /// full-object SHA-256. `None` if there is no such blob.
    pub fn blob(&mut self, sha256: &Sha256, found: Option<(u64, Option<Sha256>)>) {
        let Some(wanted) = self.blobs.remove(sha256) else { return };
        let sound = found.is_some_and(|(length, checksum)| {
            wanted.lengths.iter().eq([&length])
                && checksum.is_none_or(|checksum| checksum == *sha256)
        });
        if !sound {
            self.bad_targets.extend(wanted.names);
        }
    }

    /// The checked generation, if everything wanted was given and passed.
    ///
    /// # Errors
    /// [`Refused`] names every target whose bytes are missing or wrong.
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
            let reason =
                format!("the bytes of {first} and of {others} other targets are missing or wrong");
            return Err(Refused {
                generation,
                fault: Fault::Targets(bad.into_iter().collect()),
                reason,
            });
        }
        Ok(Checked { snapshot: self.snapshot })
    }
}

/// The refusal of this version of a role's document.
fn faulty(generation: u64, role: &RoleName, version: u64, error: &VerifyError) -> Refused {
    let fault = match error {
        VerifyError::Expired { .. } => Fault::Expired(role.clone(), version),
        _ => Fault::Role(role.clone(), version),
    };
    Refused { generation, fault, reason: error.to_string() }
}
