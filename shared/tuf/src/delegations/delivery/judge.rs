//! Judges the files of a party: whether each may become the next document of its role.
//!
//! A party's own role and the roles below it are judged together. A document is taken only together
//! with documents of all the roles to which it delegates. If a delivery is refused, the published
//! documents stay.
//!
//! *Invariant*: the cost of judging a party's files grows with their number. It does not grow with
//! the number of combinations of new and published documents, which doubles with each level: a
//! signature is checked only once under each delegating document.

use std::collections::BTreeMap;

use bytes::Bytes;
use tough::schema::{DelegatedRole, Delegations, PathSet, Targets};

use super::super::names::is_below;
use super::super::parties::{Party, PartyDocument};
use super::files::{
    Delivered, DeliveryRules, Effort, Files, Judged, LEAST_LIFE, MOST_ROLES, Taken, check_form,
    refuse,
};
use crate::primitives::{
    Pattern, Rejection, RoleName, Sha256, TargetName, custom, seconds_between,
};
use crate::signing::{RoleKeys, Signed, verify_published};

/// How often the new file of a role is tried, each time below another delegating document. After
/// that the published document is used. 4 tries suffice for two levels above the role that both
/// have a new file and fall back to the published one.
const MOST_TRIES: usize = 4;

/// Judges the files of `party`, whose own role is `role`.
#[must_use]
pub fn judge_files(
    role: &RoleName,
    party: &Party,
    documents: &BTreeMap<RoleName, PartyDocument>,
    files: &Files,
    rules: DeliveryRules,
) -> Judged {
    let (rejections, tries, verified) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut judge =
        Judge { documents, files, rules, rejections, tries, verified, effort: Effort::default() };
    let taken = match party.delegation(role) {
        Ok(delegations) => {
            let paths = vec![party.paths.clone()];
            judge.role(
                role,
                &Above {
                    document: None,
                    delegations: &delegations,
                    paths,
                    depth: 0,
                    takes_new: true,
                },
            )
        }
        Err(error) => Err(error.to_string()),
    };
    let Judge { mut rejections, effort, .. } = judge;
    let documents = taken.ok();
    for (other, Delivered { bytes, .. }) in &files.delivered {
        match documents.as_ref().map(|documents| documents.get(other)) {
            // It was refused below some other document, but is used below this one.
            Some(Some(taken)) if taken.signed.bytes() == bytes => _ = rejections.remove(other),
            Some(Some(_)) => {}
            _ => {
                let why =
                    format!("no document of {role} delegates to it; that must be delivered first");
                rejections.entry(other.clone()).or_insert_with(|| refuse(other, &why));
            }
        }
    }
    Judged { documents, rejections, effort }
}

struct Judge<'a> {
    documents: &'a BTreeMap<RoleName, PartyDocument>,
    files: &'a Files,
    rules: DeliveryRules,
    rejections: BTreeMap<RoleName, Rejection>,
    /// How often each role's new file was tried.
    tries: BTreeMap<RoleName, usize>,
    verified: BTreeMap<DelegatedDocument, Result<Signed<Targets>, String>>,
    effort: Effort,
}

/// A role, the digest of its document, whether that was just delivered, and the digest of the
/// delegating document.
type DelegatedDocument = (RoleName, Sha256, bool, Option<Sha256>);

/// Where a document comes from.
#[derive(Debug, Clone, Copy)]
struct Origin {
    /// Whether it was just delivered. A published document stays, even if it breaks a newer rule of
    /// form.
    is_delivered: bool,
    /// Whether new files are tried in the roles below it.
    takes_new: bool,
}

type Tree = BTreeMap<RoleName, Taken>;

/// The position of a role below its party's delegation.
struct Above<'a> {
    /// The digest of the delegating document; `None` for `targets`.
    document: Option<Sha256>,
    delegations: &'a Delegations,
    /// One list for each level above: every target must match a pattern in each list.
    paths: Vec<Vec<Pattern>>,
    /// How many of the party's roles are above it.
    depth: usize,
    /// Whether new files are tried here.
    takes_new: bool,
}

impl Judge<'_> {
    /// The delivered document of `role` with all documents below it. If they can't be used, the
    /// published ones.
    fn role(&mut self, role: &RoleName, above: &Above<'_>) -> Result<Tree, String> {
        let mut why = format!("delegations/{role}.json is not there");
        let (delivered, included) = (self.files.delivered.get(role), self.files.included.get(role));
        let takes_new = above.takes_new && self.may_try(role);
        if let Some(Delivered { bytes, upload }) = delivered.filter(|_| takes_new) {
            let is_new = self
                .documents
                .get(role)
                .is_none_or(|document| document.sha256 != Sha256::of(bytes));
            let newest =
                self.documents.get(role).filter(|_| is_new).map_or(0, |document| document.version);
            match self.document(
                role,
                bytes,
                newest,
                above,
                Origin { is_delivered: true, takes_new: true },
            ) {
                Ok((signed, mut tree)) => {
                    let upload = upload.clone().filter(|_| is_new);
                    tree.insert(role.clone(), Taken { signed, upload, is_new });
                    return Ok(tree);
                }
                Err(reason) => {
                    self.rejections.insert(role.clone(), refuse(role, &reason));
                    why = reason;
                    // The same file failed for a reason that also applies to a published document.
                    // If its form or signatures failed, go on: a published document needs fewer
                    // checks.
                    if included == Some(bytes) && self.verified_alike(role, bytes, above) {
                        return Err(why);
                    }
                }
            }
        }
        if let Some(bytes) = included
            && let Ok((signed, mut tree)) =
                self.document(role, bytes, 0, above, Origin { is_delivered: false, takes_new })
        {
            tree.insert(role.clone(), Taken { signed, upload: None, is_new: false });
            return Ok(tree);
        }
        Err(why)
    }

    /// Whether a just delivered file passed the checks of its form and signatures.
    fn verified_alike(&self, role: &RoleName, bytes: &Bytes, above: &Above<'_>) -> bool {
        let key = (role.clone(), Sha256::of(bytes), true, above.document);
        self.verified.get(&key).is_some_and(Result::is_ok)
    }

    /// Counts a try of the new file of `role`, and says whether it is allowed.
    fn may_try(&mut self, role: &RoleName) -> bool {
        let tries = self.tries.entry(role.clone()).or_default();
        *tries += 1;
        *tries <= MOST_TRIES
    }

    /// Checks a document of `role`, whose version must be above `newest`. Returns it and the
    /// documents below it.
    fn document(
        &mut self,
        role: &RoleName,
        bytes: &Bytes,
        newest: u64,
        above: &Above<'_>,
        found: Origin,
    ) -> Result<(Signed<Targets>, Tree), String> {
        self.effort.looks += 1;
        let digest = Sha256::of(bytes);
        let signed = self.verify(role, bytes, digest, above, found.is_delivered)?;
        let version = signed.version();
        if version <= newest {
            return Err(format!(
                "it has version {version}, and version {newest} was delivered before; sign a \
                 higher version"
            ));
        }
        let expires = signed.document().expires;
        if seconds_between(self.rules.now, expires) < LEAST_LIFE {
            return Err(format!(
                "it expires at {expires}, and an hour must be left at least; sign it with a \
                 later expiry"
            ));
        }
        check_targets(signed.document(), &above.paths)?;
        let mut tree = Tree::new();
        if let Some(delegations) = &signed.document().delegations {
            for (name, own) in self.delegated(role, delegations, above.depth + 1)? {
                let paths = above.paths.iter().cloned().chain([own]).collect();
                let below = Above {
                    document: Some(digest),
                    delegations,
                    paths,
                    depth: above.depth + 1,
                    takes_new: found.takes_new,
                };
                let found = self.role(&name, &below);
                tree.extend(found.map_err(|why| {
                    format!("it delegates to {name}, which can't be used: {why}")
                })?);
                if tree.len() >= MOST_ROLES {
                    return Err(too_many());
                }
            }
        }
        Ok((signed, tree))
    }

    /// Checks the signatures of a document, and the form of a just delivered one. Each document is
    /// checked once under each delegating document.
    fn verify(
        &mut self,
        role: &RoleName,
        bytes: &Bytes,
        digest: Sha256,
        above: &Above<'_>,
        is_delivered: bool,
    ) -> Result<Signed<Targets>, String> {
        let checks = &mut self.effort.checks;
        let verify = || {
            *checks += 1;
            if !is_delivered {
                return signed(role, bytes, above.delegations);
            }
            check_form(role, bytes).map_err(|rejection| rejection.reason)?;
            let signed = signed(role, bytes, above.delegations)?
                .expect_alike()
                .map_err(|error| error.to_string())?;
            check_customs(signed.document())?;
            Ok(signed)
        };
        self.verified
            .entry((role.clone(), digest, is_delivered, above.document))
            .or_insert_with(verify)
            .clone()
    }

    /// The roles to which a party's document delegates, with their patterns. They are `depth`
    /// levels below the party's own role.
    fn delegated(
        &self,
        role: &RoleName,
        delegations: &Delegations,
        depth: usize,
    ) -> Result<Vec<(RoleName, Vec<Pattern>)>, String> {
        let below = &delegations.roles;
        if below.len() >= MOST_ROLES {
            return Err(too_many());
        }
        let mut all: Vec<(RoleName, Vec<Pattern>)> = Vec::with_capacity(below.len());
        for below in below {
            let (name, own) = self.delegated_to(role, below)?;
            if depth >= MOST_ROLES {
                return Err(format!(
                    "it delegates to {name}, {depth} levels below the party's own role, and \
                     clients follow few delegations in a search: {} levels at most; list those \
                     targets further up",
                    MOST_ROLES - 1
                ));
            }
            if all.iter().any(|(other, _)| *other == name) {
                return Err(format!(
                    "it delegates to {name} twice; name all its paths in one entry"
                ));
            }
            all.push((name, own));
        }
        Ok(all)
    }

    /// One role to which a party's document delegates, with its patterns.
    fn delegated_to(
        &self,
        role: &RoleName,
        below: &DelegatedRole,
    ) -> Result<(RoleName, Vec<Pattern>), String> {
        let name = &below.name;
        if !self.rules.nested {
            return Err(format!(
                "it delegates to {name}, and this repository doesn't let parties delegate \
                 further; leave that out, or set nested_delegations"
            ));
        }
        let name: RoleName = name
            .parse()
            .map_err(|error| format!("it delegates to a role with an invalid name: {error}"))?;
        if !is_below(&name, role) {
            return Err(format!(
                "it delegates to {name}; call it {role}--SOMETHING, since all parties share one \
                 set of role names"
            ));
        }
        if !below.terminating {
            return Err(format!("its delegation to {name} is not terminating; make it so"));
        }
        let PathSet::Paths(paths) = &below.paths else {
            return Err(format!("its delegation to {name} is by hash prefixes; use paths"));
        };
        let paths = paths.iter().map(|path| path.value().parse::<Pattern>());
        Ok((name, paths.collect::<Result<_, _>>().map_err(|error| error.to_string())?))
    }
}

fn too_many() -> String {
    format!(
        "it has {MOST_ROLES} or more roles below it, which makes updates slow for some clients; \
         delegate to fewer"
    )
}

/// Checks that each target's name matches a pattern of every list in `paths`, and that its only
/// digest is a SHA-256.
fn check_targets(document: &Targets, paths: &[Vec<Pattern>]) -> Result<(), String> {
    for (name, target) in &document.targets {
        let name: TargetName =
            name.raw().parse().map_err(|rejection: Rejection| rejection.reason)?;
        if let Some(allowed) =
            paths.iter().find(|paths| !paths.iter().any(|path| path.allows(name.as_str())))
        {
            let allowed: Vec<&str> = allowed.iter().map(Pattern::as_str).collect();
            return Err(format!(
                "it lists {name}, and may list {} only, where '*' does not match '/'",
                allowed.join(" ")
            ));
        }
        if target.hashes.sha256.len() != 32 || !target.hashes._extra.is_empty() {
            return Err(format!("it must list {name} with a SHA-256 and no other digest"));
        }
    }
    Ok(())
}

/// Checks that the custom metadata of each target keeps the policy for our own.
fn check_customs(document: &Targets) -> Result<(), String> {
    let customs = document.targets.iter().filter(|(_, target)| !target.custom.is_empty());
    for (name, target) in customs {
        let custom = serde_json::to_string(&target.custom).map_err(|error| error.to_string())?;
        custom::parse(&custom).map_err(|rejection| format!("{}: {rejection}", name.raw()))?;
    }
    Ok(())
}

/// The document, verified under the keys that `delegations` list.
fn signed(
    role: &RoleName,
    bytes: &Bytes,
    delegations: &Delegations,
) -> Result<Signed<Targets>, String> {
    let keys = RoleKeys::in_delegations(delegations, role);
    keys.and_then(|keys| verify_published(bytes.clone(), &keys)).map_err(|error| error.to_string())
}
