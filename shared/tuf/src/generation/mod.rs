//! Generations: applies a batch of changes to the newest generation, records the result, and says
//! why a generation may not be shown.
//!
//! Generation 1 lists no targets. Generation 2 lists one:
//!
//! ```
//! use std::collections::BTreeSet;
//!
//! use tough::sign::Sign;
//! use tufline_tuf::config::Expiry;
//! use tufline_tuf::generation::{
//!     DEEPEST_BIN, Edit, FirstBins, Folding, Others, Policy, TargetEdit, first,
//! };
//! use tufline_tuf::{Content, Custom, Index, RecordedPolicy, Sha256};
//!
//! # use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
//! # let bins_key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?.tuf_key();
//! let policy = Policy {
//!     recorded: RecordedPolicy::new(&Expiry::default(), 1000),
//!     deepest_bin: DEEPEST_BIN,
//!     removals: None,
//!     now: "2026-12-01T00:00:00Z".parse()?,
//! };
//! let (base, drafts) = first(policy, bins_key, FirstBins::One)?;
//!
//! let content =
//!     Content { sha256: Sha256::of(b"firmware"), length: 8, custom: Custom::default() };
//! let edits = [TargetEdit {
//!     name: "gateway/firmware.bin".parse()?,
//!     version: Some("v1".into()),
//!     uploaded: None,
//!     edit: Edit::Set(content),
//! }];
//! let base = base.manifest;
//! let index = Index::new(base.top.clone());
//! let (renew, bins, others) = (BTreeSet::new(), base.bins_keys(), Others::default());
//! let mut folding = Folding::new(&base, index, &edits, &renew, bins, &others, policy)?;
//! for (role, _) in folding.wanted()? {
//!     // The ledger has the documents of the generations before.
//!     let draft = drafts.iter().find(|draft| *draft.record().role() == role);
//!     folding.fold(draft.ok_or("the ledger lacks a document")?.record())?;
//! }
//! let next = folding.finish()?.manifest;
//! assert_eq!((next.generation, next.targets), (2, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bins_key_rotation;
mod bins_keys;
mod drafting;
mod edit;
mod error;
mod first;
mod first_bins;
mod fold;
pub(crate) mod listed;
mod manifest;
mod policy;
mod refused;
mod removals;
mod snapshot;

pub use bins_key_rotation::outdated_bins;
pub use bins_keys::{BinsKeys, OldKey};
pub use drafting::targets_document;
pub(crate) use drafting::targets_draft;
pub use edit::{Edit, TargetEdit};
pub use error::GenerationError;
pub use first::{UsedUp, first, imported};
pub use first_bins::{BadBins, FirstBins};
pub use fold::{Folding, Next, Others};
pub(crate) use listed::Listed;
pub use manifest::{Applied, MANIFEST_FORMAT, Manifest, Outcome, RemovalWindow};
pub use policy::{DEEPEST_BIN, Policy, RecordedPolicy};
pub use refused::{Fault, Refused};
pub(crate) use removals::count_removals;
pub use snapshot::{Versions, advance, snapshot, versions};

pub use crate::layout::{digest_of, target_of};
pub use crate::primitives::SPEC_VERSION;
