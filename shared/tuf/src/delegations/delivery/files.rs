//! The files that parties deliver, and the outcomes of judging them.

use std::collections::BTreeMap;

use bytes::Bytes;
use tough::schema::Targets;

use crate::primitives::{Rejection, RejectionCode, RoleName, Time};
use crate::signing::{Signed, foreign};
/// The longest file that a party may deliver, in bytes. Clients accept targets files of up to 5 MB
/// by default.
pub const LARGEST_DELIVERY: u64 = 1_000_000;

/// The most roles of a party. Some clients read every role, and refuse the whole repository if one
/// is missing.
pub(super) const MOST_ROLES: usize = 10;

/// `targets` doesn't delegate to a party whose document expires within this many seconds. That
/// leaves time for a device that begins now, and for a generation without the party.
pub const LEAST_LIFE: i64 = 3600;

/// The rules for other parties' files.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryRules {
    /// Whether parties may delegate further.
    pub nested: bool,
    /// The current time, against which expiries are checked.
    pub now: Time,
}

/// A file that a party uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The file's bytes. Of a file longer than [`LARGEST_DELIVERY`], at least one byte more than
    /// that, so that the file is refused.
    pub bytes: Bytes,
    /// The version of the upload.
    pub upload: Option<String>,
}

/// The files of a party.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The newest file that it delivered for each role.
    pub delivered: BTreeMap<RoleName, Delivered>,
    /// The document of each role that devices see now.
    pub included: BTreeMap<RoleName, Bytes>,
}

/// The outcome of judging a party's files.
#[derive(Debug, Default)]
pub struct Judged {
    /// The documents from now on; `None` if none can be used.
    pub documents: Option<BTreeMap<RoleName, Taken>>,
    /// The refused deliveries, and why each was refused.
    pub rejections: BTreeMap<RoleName, Rejection>,
    /// How much work the judging took.
    pub effort: Effort,
}

/// How much work it took to judge a party's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effort {
    /// How often a document was judged as one below another.
    pub looks: usize,
    /// How often a document's signatures were checked.
    pub checks: usize,
}

/// A document that may be used.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The document, verified under the keys of the role above.
    pub signed: Signed<Targets>,
    /// The version of the upload, if the document is new.
    pub upload: Option<String>,
    /// Whether the document is new.
    pub is_new: bool,
}

/// The roles to which a file says it delegates, before any signature is checked. Their files are
/// needed to judge it.
#[must_use]
pub fn named_below(bytes: &[u8]) -> Vec<RoleName> {
    let document = serde_json::from_slice::<tough::schema::Signed<Targets>>(bytes);
    let delegations = document.ok().and_then(|document| document.signed.delegations);
    let roles = delegations.map(|delegations| delegations.roles).unwrap_or_default();
    roles.iter().take(MOST_ROLES).filter_map(|role| role.name.parse().ok()).collect()
}

/// Checks that the file could be a role's document, without checking its signatures.
///
/// # Errors
/// A [`Rejection`] that says why it could not.
pub fn check_form(role: &RoleName, bytes: &[u8]) -> Result<(), Rejection> {
    if bytes.len() as u64 > LARGEST_DELIVERY {
        return Err(refuse(
            role,
            &format!("it has more than {LARGEST_DELIVERY} bytes; list fewer targets"),
        ));
    }
    foreign::read::<Targets>(bytes).map(drop).map_err(|why| {
        refuse(
            role,
            &format!("it is not a signed targets document that all clients read alike: {why}"),
        )
    })
}

/// The rejection of a file that a party delivered.
#[must_use]
pub fn refuse(role: &RoleName, why: &str) -> Rejection {
    Rejection::new(RejectionCode::Delegation, format!("delegations/{role}.json rejected: {why}"))
}
