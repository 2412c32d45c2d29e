//! What other parties deliver: whether a file may become the next document of its role.
//!
//! A party's own role and those below it stand or fall together: a document is taken only with documents of all the roles that it
//! delegates to. What is refused leaves what was there before.
//!
//! *Invariant*: what it costs to judge a party's files grows with their number, not with the number of ways to combine new ones with those so
//! far, which doubles with each level: a signature is checked once under each document that delegates to the role.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tough::schema::{DelegatedRole, Delegations, PathSet, Targets};

use crate::name::{RoleName, TargetName};
use crate::parties::{Decision, Parties, Party, PartyChange, PartyDocument, PartyState, is_below, root_of};
use crate::pattern::Pattern;
use crate::refusal::{Refusal, RefusalCode};
use crate::sha256::Sha256;
use crate::signed::{RoleKeys, Signed, verify_published};
use crate::time::{Time, seconds_between};
use crate::{custom, foreign};

/// Clients take 5 MB of a targets file at most by default. In bytes.
pub const LARGEST_DELIVERY: u64 = 1_000_000;

/// A party may have so many roles: for some clients one that is missing breaks the whole repository, and they read all of them.
const MOST_ROLES: usize = 10;

/// The new file of a role is tried below so many different documents above it, below further ones what there is: enough for two levels
/// above it of which each has a new file, and each falls back.
const MOST_TRIES: usize = 4;

/// While less than this is left of a document's life, `targets` doesn't delegate to its party: time enough for a device that begins
/// now, and for a generation without it. In seconds.
pub const LEAST_LIFE: i64 = 3600;

/// What of other parties' files is allowed here.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether they may delegate further.
    pub nested: bool,
    /// The time.
    pub now: Time,
}

/// A file in the uploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its bytes; of one that is longer than [`LARGEST_DELIVERY`] more than that.
    pub bytes: Bytes,
    /// The version of the upload.
    pub upload: Option<String>,
}

/// The files of a party.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The newest that it delivered.
    pub delivered: BTreeMap<RoleName, Delivered>,
    /// Its documents so far.
    pub included: BTreeMap<RoleName, Bytes>,
}

/// What the files of a party come to.
#[derive(Debug, Default)]
pub struct Settled {
    /// The documents from now on; `None` where nothing can be used.
    pub documents: Option<BTreeMap<RoleName, Taken>>,
    /// Which deliveries were refused, and why.
    pub refusals: BTreeMap<RoleName, Refusal>,
    /// What it took.
    pub effort: Effort,
}

/// What it took to judge the files of a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effort {
    /// How often a document was looked at as one below another.
    pub looks: usize,
    /// How often the signatures of a document were checked.
    pub checks: usize,
}

/// A document that may be used.
#[derive(Debug, Clone)]
pub struct Taken {
    /// It.
    pub signed: Signed<Targets>,
    /// The upload's version, if it is new.
    pub upload: Option<String>,
    /// Whether it is new.
    pub is_new: bool,
}

/// The roles that a file says it delegates to, whoever signed it: their files are needed to judge it.
#[must_use]
pub fn named_below(bytes: &[u8]) -> Vec<RoleName> {
    let document = serde_json::from_slice::<tough::schema::Signed<Targets>>(bytes);
    let delegations = document.ok().and_then(|document| document.signed.delegations);
    let roles = delegations.map(|delegations| delegations.roles).unwrap_or_default();
    roles.iter().take(MOST_ROLES).filter_map(|role| role.name.parse().ok()).collect()
}

/// Whether this could be a role's document at all.
///
/// # Errors
/// The [`Refusal`].
pub fn check_form(role: &RoleName, bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.len() as u64 > LARGEST_DELIVERY {
        return Err(refuse(role, &format!("it has more than {LARGEST_DELIVERY} bytes; list fewer targets")));
    }
    foreign::read::<Targets>(bytes)
        .map(drop)
        .map_err(|why| refuse(role, &format!("it is not a signed targets document that all clients read alike: {why}")))
}

/// Judges the files of `party`, whose role is `role`.
#[must_use]
pub fn settle(
    role: &RoleName,
    party: &Party,
    documents: &BTreeMap<RoleName, PartyDocument>,
    files: &Files,
    rules: Rules,
) -> Settled {
    let (refusals, tries, verified) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut judge = Judge { documents, files, rules, refusals, tries, verified, effort: Effort::default() };
    let taken = match party.delegation(role) {
        Ok(delegations) => {
            let paths = vec![party.paths.clone()];
            judge.role(role, &Above { document: None, delegations: &delegations, paths, depth: 0, takes_new: true })
        }
        Err(error) => Err(error.to_string()),
    };
    let Judge { mut refusals, effort, .. } = judge;
    let documents = taken.ok();
    for (other, Delivered { bytes, .. }) in &files.delivered {
        match documents.as_ref().map(|documents| documents.get(other)) {
            // It was refused below another document only.
            Some(Some(taken)) if taken.signed.bytes() == bytes => _ = refusals.remove(other),
            Some(Some(_)) => {}
            _ => {
                let why = format!("no document of {role} delegates to it; that must be delivered first");
                refusals.entry(other.clone()).or_insert_with(|| refuse(other, &why));
            }
        }
    }
    Settled { documents, refusals, effort }
}

struct Judge<'a> {
    documents: &'a BTreeMap<RoleName, PartyDocument>,
    files: &'a Files,
    rules: Rules,
    refusals: BTreeMap<RoleName, Refusal>,
    /// How often the new file of a role was tried.
    tries: BTreeMap<RoleName, usize>,
    verified: BTreeMap<Delegated, Result<Signed<Targets>, String>>,
    effort: Effort,
}

/// A role, its document, whether that was delivered just now, and the document that delegates to it.
type Delegated = (RoleName, Sha256, bool, Option<Sha256>);

/// Where a document was found.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// It was delivered just now; one that was taken in stays, whatever a later rule says of its form.
    is_delivered: bool,
    /// Whether new files are tried below it.
    takes_new: bool,
}

type Tree = BTreeMap<RoleName, Taken>;

/// What is above a role.
struct Above<'a> {
    /// The document that delegates to it; `None` for `targets`.
    document: Option<Sha256>,
    delegations: &'a Delegations,
    /// Its targets must match one of each of these.
    paths: Vec<Vec<Pattern>>,
    /// How many roles of the party there are.
    depth: usize,
    /// Whether new files are tried.
    takes_new: bool,
}

impl Judge<'_> {
    /// The delivered document of `role` with all below it or, where that can't be used, the one that there is.
    fn role(&mut self, role: &RoleName, above: &Above<'_>) -> Result<Tree, String> {
        let mut why = format!("delegations/{role}.json is not there");
        let (delivered, included) = (self.files.delivered.get(role), self.files.included.get(role));
        let takes_new = above.takes_new && self.may_try(role);
        if let Some(Delivered { bytes, upload }) = delivered.filter(|_| takes_new) {
            let is_new = self.documents.get(role).is_none_or(|document| document.sha256 != Sha256::of(bytes));
            let newest = self.documents.get(role).filter(|_| is_new).map_or(0, |document| document.version);
            match self.document(role, bytes, newest, above, Found { is_delivered: true, takes_new: true }) {
                Ok((signed, mut tree)) => {
                    let upload = upload.clone().filter(|_| is_new);
                    tree.insert(role.clone(), Taken { signed, upload, is_new });
                    return Ok(tree);
                }
                Err(reason) => {
                    self.refusals.insert(role.clone(), refuse(role, &reason));
                    why = reason;
                    // It would not become better; but of one that was taken in less is asked.
                    if included == Some(bytes) && self.verified_alike(role, bytes, above) {
                        return Err(why);
                    }
                }
            }
        }
        if let Some(bytes) = included
            && let Ok((signed, mut tree)) =
                self.document(role, bytes, 0, above, Found { is_delivered: false, takes_new })
        {
            tree.insert(role.clone(), Taken { signed, upload: None, is_new: false });
            return Ok(tree);
        }
        Err(why)
    }

    /// Whether a file that was delivered just now is one that may be taken in, by its form and its signatures.
    fn verified_alike(&self, role: &RoleName, bytes: &Bytes, above: &Above<'_>) -> bool {
        let key = (role.clone(), Sha256::of(bytes), true, above.document);
        self.verified.get(&key).is_some_and(Result::is_ok)
    }

    /// Whether the new file of `role` may be tried once more.
    fn may_try(&mut self, role: &RoleName) -> bool {
        let tries = self.tries.entry(role.clone()).or_default();
        *tries += 1;
        *tries <= MOST_TRIES
    }

    /// Checks a document of `role`, which must be newer than version `newest`; answers it, and those below it.
    fn document(
        &mut self,
        role: &RoleName,
        bytes: &Bytes,
        newest: u64,
        above: &Above<'_>,
        found: Found,
    ) -> Result<(Signed<Targets>, Tree), String> {
        self.effort.looks += 1;
        let digest = Sha256::of(bytes);
        let signed = self.verify(role, bytes, digest, above, found.is_delivered)?;
        let version = signed.version();
        if version <= newest {
            return Err(format!(
                "it has version {version}, and version {newest} was delivered before; sign one above it"
            ));
        }
        let expires = signed.document().expires;
        if seconds_between(self.rules.now, expires) < LEAST_LIFE {
            return Err(format!(
                "it expires at {expires}, and an hour must be left at least; sign it with a later expiry"
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
                tree.extend(found.map_err(|why| format!("it delegates to {name}, which can't be used: {why}"))?);
                if tree.len() >= MOST_ROLES {
                    return Err(too_many());
                }
            }
        }
        Ok((signed, tree))
    }

    /// Checks the signatures of a document, and the form of one that was delivered just now, once under each document above.
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
            check_form(role, bytes).map_err(|refusal| refusal.reason)?;
            let signed = signed(role, bytes, above.delegations)?.expect_alike().map_err(|error| error.to_string())?;
            check_customs(signed.document())?;
            Ok(signed)
        };
        self.verified.entry((role.clone(), digest, is_delivered, above.document)).or_insert_with(verify).clone()
    }

    /// What a party's document says of the roles below it, which are so many levels below the party's own.
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
                    "it delegates to {name}, {depth} levels below the party's own role, and clients follow few delegations in a search: {} \
                     levels at most; list those targets further up",
                    MOST_ROLES - 1
                ));
            }
            if all.iter().any(|(other, _)| *other == name) {
                return Err(format!("it delegates to {name} twice; name all its paths in one entry"));
            }
            all.push((name, own));
        }
        Ok(all)
    }

    /// What a party's document says of a role below it.
    fn delegated_to(&self, role: &RoleName, below: &DelegatedRole) -> Result<(RoleName, Vec<Pattern>), String> {
        let name = &below.name;
        if !self.rules.nested {
            return Err(format!(
                "it delegates to {name}, and this repository doesn't let parties delegate further; leave that out, or set nested_delegations"
            ));
        }
        let name: RoleName = name.parse().map_err(|error| format!("it delegates to a role that can't be: {error}"))?;
        if !is_below(&name, role) {
            return Err(format!(
                "it delegates to {name}; call it {role}--SOMETHING, since names of roles are everybody's"
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
    format!("it has {MOST_ROLES} roles below it or more, which makes updates slow for some clients; delegate to fewer")
}

/// Whether a role whose names match a pattern of each of `paths` may list these targets.
fn check_targets(document: &Targets, paths: &[Vec<Pattern>]) -> Result<(), String> {
    for (name, target) in &document.targets {
        let name: TargetName = name.raw().parse().map_err(|refusal: Refusal| refusal.reason)?;
        if let Some(allowed) = paths.iter().find(|paths| !paths.iter().any(|path| path.allows(name.as_str()))) {
            let allowed: Vec<&str> = allowed.iter().map(Pattern::as_str).collect();
            return Err(format!("it lists {name}, and may list {} only, where '*' stops at '/'", allowed.join(" ")));
        }
        if target.hashes.sha256.len() != 32 || !target.hashes._extra.is_empty() {
            return Err(format!("it doesn't list {name} by its SHA-256 and nothing else"));
        }
    }
    Ok(())
}

/// Whether the parties `after` follow from `before` by `decisions` of operators and by the documents of `files`: those that `changes` says were
/// taken in, and those that there were. Whoever signs or shows a generation asks that, so as not to believe whoever made it.
///
/// # Errors
/// Why not, in one line.
pub fn follow(
    before: &Parties,
    decisions: &[Decision],
    files: &Files,
    after: &Parties,
    changes: &BTreeMap<RoleName, PartyChange>,
    rules: Rules,
) -> Result<(), String> {
    let mut next = Parties { made: after.made, ..before.decided(decisions) };
    let touched: BTreeSet<RoleName> =
        changes.keys().filter_map(|role| after.party_of(role).map(|(own, _)| own.clone())).collect();
    for own in touched {
        let documents = |parties: &Parties| {
            let documents = parties.roles_of(&own).map(|role| (role.clone(), parties.documents.get(role).cloned()));
            documents.collect::<BTreeMap<_, _>>()
        };
        let Some(party) = next.parties.get(&own) else { continue };
        if Some(party) == after.parties.get(&own) && documents(&next) == documents(after) {
            continue;
        }
        let mine = |role: &RoleName| root_of(role) == own.as_str();
        let delivered = files.delivered.iter().filter(|(role, _)| mine(role));
        let included = files.included.iter().filter(|(role, _)| mine(role));
        let files = Files {
            delivered: delivered.map(|(role, file)| (role.clone(), file.clone())).collect(),
            included: included.map(|(role, bytes)| (role.clone(), bytes.clone())).collect(),
        };
        let settled = settle(&own, party, &next.documents, &files, rules);
        next = next.take(&own, &settled).0;
    }
    if next == *after {
        return Ok(());
    }
    Err("what it delegates to other parties follows from no decision of an operator and from no document of theirs"
        .into())
}

/// Whether its custom metadata keep the policy for ours.
fn check_customs(document: &Targets) -> Result<(), String> {
    let customs = document.targets.iter().filter(|(_, target)| !target.custom.is_empty());
    for (name, target) in customs {
        let custom = serde_json::to_string(&target.custom).map_err(|error| error.to_string())?;
        custom::parse(&custom).map_err(|refusal| format!("{}: {refusal}", name.raw()))?;
    }
    Ok(())
}

/// A document that is signed as `delegations` ask for.
fn signed(role: &RoleName, bytes: &Bytes, delegations: &Delegations) -> Result<Signed<Targets>, String> {
    let keys = RoleKeys::in_delegations(delegations, role);
    keys.and_then(|keys| verify_published(bytes.clone(), &keys)).map_err(|error| error.to_string())
}

impl Parties {
    /// The parties with what [`settle`] made of the files of `role`, and what that changes.
    #[must_use]
    pub fn take(&self, role: &RoleName, settled: &Settled) -> (Self, BTreeMap<RoleName, PartyChange>) {
        let (mut next, mut changes) = (self.clone(), BTreeMap::new());
        let Some(party) = next.parties.get_mut(role).filter(|party| party.state != PartyState::Removed) else {
            return (next, changes);
        };
        let before = party.state;
        match &settled.documents {
            Some(taken) => {
                party.state = PartyState::Listed;
                let below: BTreeSet<RoleName> = taken.keys().filter(|below| *below != role).cloned().collect();
                party.below = below;
                for (role, taken) in taken.iter().filter(|(_, taken)| taken.is_new) {
                    let document = PartyDocument::of(&taken.signed);
                    next.documents.insert(role.clone(), document.clone());
                    let change = PartyChange {
                        state: PartyState::Listed,
                        document: Some(document),
                        upload: taken.upload.clone(),
                    };
                    changes.insert(role.clone(), change);
                }
            }
            None if before == PartyState::Listed => {
                let delivered = next.documents.contains_key(role);
                party.state = if delivered { PartyState::Suspended } else { PartyState::Waiting };
            }
            None => {}
        }
        let state = party.state;
        if state != before {
            changes.entry(role.clone()).or_insert(PartyChange { state, document: None, upload: None });
        }
        (next, changes)
    }
}

impl PartyDocument {
    fn of(signed: &Signed<Targets>) -> Self {
        Self {
            version: signed.version(),
            length: signed.bytes().len() as u64,
            sha256: signed.sha256(),
            expires: signed.document().expires,
        }
    }
}

/// What is said of a file that is refused.
#[must_use]
pub fn refuse(role: &RoleName, why: &str) -> Refusal {
    Refusal::new(RefusalCode::Delegation, format!("delegations/{role}.json refused: {why}"))
}
