//! The files that parties deliver, and what may become of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use tough::schema::Targets;

use crate::primitives::{Rejection, RejectionCode, RoleName, Time};
use crate::signing::{Signed, foreign};
/// Clients take 5 MB of a targets file at most by default. In bytes.
pub const LARGEST_DELIVERY: u64 = 1_000_000;

/// A party may have so many roles: for some clients one that is missing breaks the whole repository, and they read all of them.
pub(super) const MOST_ROLES: usize = 10;

/// While less than this is left of a document's life, `targets` doesn't delegate to its party: time enough for a device that begins
/// now, and for a generation without it. In seconds.
pub const LEAST_LIFE: i64 = 3600;

/// What of other parties' files is allowed here.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryRules {
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
pub struct Judged {
    /// The documents from now on; `None` where nothing can be used.
    pub documents: Option<BTreeMap<RoleName, Taken>>,
    /// Which deliveries were refused, and why.
    pub rejections: BTreeMap<RoleName, Rejection>,
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
/// The [`Rejection`].
pub fn check_form(role: &RoleName, bytes: &[u8]) -> Result<(), Rejection> {
    if bytes.len() as u64 > LARGEST_DELIVERY {
        return Err(refuse(role, &format!("it has more than {LARGEST_DELIVERY} bytes; list fewer targets")));
    }
    foreign::read::<Targets>(bytes)
        .map(drop)
        .map_err(|why| refuse(role, &format!("it is not a signed targets document that all clients read alike: {why}")))
}

/// What is said of a file that is refused.
#[must_use]
pub fn refuse(role: &RoleName, why: &str) -> Rejection {
    Rejection::new(RejectionCode::Delegation, format!("delegations/{role}.json refused: {why}"))
}
