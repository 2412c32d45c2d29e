//! The top-level targets role in the hands of people: its key is on no server, and everything else still flows.
//!
//! That works where `targets` lists bins and no targets, so that no upload ever changes it. People sign its next document when it expires.
//! The document's number is taken from the serial beforehand, by a fence: so it is nobody else's, however long they take, and nothing
//! waits for them.
//!
//! `targets` lists the key of the bins. To replace that, people sign two documents on one occasion: one that lists the old key beside the
//! new one, and one for when every bin is signed by the new key. The generation that takes in the first also has all deeper delegating
//! roles list both keys, and refresh asks for the bins; the second is refused before they are all done.

use std::collections::BTreeSet;

use bytes::Bytes;
use tough::schema::Targets;
use tufline_store::{Document, OnlineRole, Signer, Store, Written};
use tufline_tuf::delegations::PartyState;
use tufline_tuf::generation::outdated_bins;
use tufline_tuf::generation::{Folding, targets_document};
use tufline_tuf::index::Place;
use tufline_tuf::{
    AddressedDraft, BinsKeys, Config, Draft, Manifest, Parties, RoleKeys, RoleName, Signed, Time, foreign, verify,
};

use crate::actions::intake::Intake;
use crate::actions::make_generation::{Additions, KnownBase, make_generation};
use crate::error::{Result, StageError};
use crate::ports::policy;
use crate::state::index::{read_index, read_index_below};
use crate::state::parties::read_parties;
use crate::state::pending::Tip;
use crate::state::{ledger, roots};

/// After so many lost races the operator is told; uploads go on meanwhile.
const ATTEMPTS: usize = 100;

/// What people sign on one occasion.
#[derive(Debug, Clone)]
pub struct ToSign {
    /// The document to publish next.
    pub next: Draft<Targets>,
    /// While the key of the bins is replaced: the one to publish when all bins are signed by the new key.
    pub last: Option<Draft<Targets>>,
}

/// The next document of `targets`, to be signed by people, in force until `expires`, and the one after it if the key of the bins is
/// to be replaced. Their numbers are nobody else's from now on.
///
/// # Errors
/// [`StageError::Refused`]: nothing was written.
pub async fn next(store: &dyn Store, signer: &dyn Signer, config: &Config, now: Time, expires: Time) -> Result<ToSign> {
    expect_offline(config)?;
    for _ in 0..ATTEMPTS {
        let tip = Tip::read(store).await?;
        let base = tip.base()?;
        let parties = read_parties(store, base).await?;
        expect_fit(base, &parties)?;
        let keys = BinsKeys::with(base, &signer.newest_key(OnlineRole::Bins).await?);
        let others = Intake::unchanged(base, parties, now).others;
        let (nothing, index) = (BTreeSet::new(), read_index(store, base, &[]).await?);
        let policy = policy(config, None, now);
        let mut folding = Folding::new(base, index, &[], &nothing, base.bins_keys(), &others, policy)?;
        let mut document = |keys: &BinsKeys| targets_document(folding.reserve(), expires, &keys.listed());
        let next = document(&keys)?;
        let last = keys.old.is_some().then(|| document(&keys.alone())).transpose()?;
        if ledger::create_manifest(store, &folding.finish()?.manifest).await? == Written::Done {
            return Ok(ToSign { next, last });
        }
    }
    Err(StageError::Contended("the next document of targets", ATTEMPTS))
}

/// Publishes a document that people signed; answers the generation that has it. Somebody must ask sign for it then. Harmless where it is
/// published already.
///
/// # Errors
/// [`StageError::Refused`], [`StageError::Document`]: nothing was written.
pub async fn publish(store: &dyn Store, signer: &dyn Signer, config: &Config, now: Time, file: Bytes) -> Result<u64> {
    expect_offline(config)?;
    let root = roots::newest(store).await?;
    let document: Signed<Targets> =
        verify(file.clone(), &RoleKeys::in_root(&root, &RoleName::targets())?)?.expect_fresh(now)?;
    foreign::read::<Targets>(&file).map_err(|why| refused(&format!("not all clients read it alike: {why}")))?;
    let draft = AddressedDraft::try_from(Draft::new(RoleName::targets(), document.document().clone()))?;
    for _ in 0..ATTEMPTS {
        let tip = Tip::read(store).await?;
        let base = tip.base()?;
        let parties = read_parties(store, base).await?;
        expect_fit(base, &parties)?;
        let newest = &base.top.document;
        if (newest.version, newest.draft) == (document.version(), draft.digest()) {
            return Ok(base.generation);
        }
        expect_given_out(base, &document)?;
        let Due { bins, renew } = due(store, signer, base, &document).await?;
        // A crash after this leaves files that nothing refers to; the next run finds them.
        match ledger::create_same(store, &Document::signed(&document)).await? {
            Written::Done => {}
            Written::Lost => {
                let version = document.version();
                return Err(refused(&format!(
                    "another document of version {version} was published meanwhile; begin with the next"
                )));
            }
        }
        ledger::create_or_find(store, &Document::draft(&draft)).await?;
        let places: Vec<Place<'_>> = renew.iter().map(Place::Role).collect();
        let known = KnownBase::read(store, base, &places).await?;
        let judged = Intake::unchanged(base, parties, now);
        let batch = Additions { adopted: Some(&draft), ..Additions::new(&renew, &bins, &judged) };
        let Some(manifest) = make_generation(store, base, &known, &[], batch, policy(config, None, now)).await? else {
            continue;
        };
        if ledger::create_manifest(store, &manifest).await? == Written::Done {
            return Ok(manifest.generation);
        }
    }
    Err(StageError::Contended("the publication of targets", ATTEMPTS))
}

/// What the generation must have that takes in a document.
struct Due {
    bins: BinsKeys,
    /// The deeper delegating roles, where they must list other keys than they do.
    renew: BTreeSet<RoleName>,
}

/// What is due with the document after `base`: it lists the keys of the bins as they are, or as they may be next.
async fn due(store: &dyn Store, signer: &dyn Signer, base: &Manifest, document: &Signed<Targets>) -> Result<Due> {
    let bins = base.bins_keys();
    if lists(document, &bins)? {
        return Ok(Due { bins, renew: BTreeSet::new() });
    }
    let newest = signer.newest_key(OnlineRole::Bins).await?;
    let (with, index) = (BinsKeys::with(base, &newest), read_index_below(store, base, |_| true).await?);
    if let Some(bins) = BinsKeys::next(base, &index, &newest)
        && lists(document, &bins)?
    {
        let delegating = index.entries().filter(|(_, entry)| entry.bins.is_some()).map(|(role, _)| role);
        return Ok(Due { bins, renew: delegating.filter(|role| *role != RoleName::targets()).collect() });
    }
    if !lists(document, &with.alone())? {
        return Err(refused(
            "it doesn't delegate to the bins as they are now; make the next one with `tufline targets next`",
        ));
    }
    if bins.old.is_none() {
        return Err(refused(
            "it drops the key that signed the bins; publish the document that lists it beside the new one first",
        ));
    }
    let left = outdated_bins(base, &index).count();
    Err(refused(&format!(
        "it drops a key of which {left} bins still need the signature; wait until `tufline key rotate bins` says signed"
    )))
}

/// Whether the document delegates to the bins and to nothing else, with these keys.
fn lists(signed: &Signed<Targets>, keys: &BinsKeys) -> Result<bool> {
    let document = signed.document();
    Ok(targets_document(signed.version(), document.expires, &keys.listed())?.document() == document)
}

fn expect_offline(config: &Config) -> Result<()> {
    if config.offline_targets {
        return Ok(());
    }
    Err(refused("the repository signs it by itself; set offline_targets in its configuration first"))
}

/// Whether `targets` is such that only people ever need to change it.
fn expect_fit(base: &Manifest, parties: &Parties) -> Result<()> {
    if base.top.bins.is_none() {
        return Err(refused(
            "it lists targets itself, so every upload would need a signature; begin the repository with --bins 256",
        ));
    }
    if let Some((party, _)) = parties.parties.iter().find(|(_, party)| party.state != PartyState::Removed) {
        return Err(refused(&format!(
            "{party} is delegated to, and what a party delivers may change it at any time; remove the delegation first"
        )));
    }
    Ok(())
}

/// Whether the document's number was given out for it, and none above it is in use.
fn expect_given_out(base: &Manifest, signed: &Signed<Targets>) -> Result<()> {
    let (version, newest) = (signed.version(), base.top.document.version);
    if version <= newest || version > base.serial {
        return Err(refused(&format!(
            "it has version {version}, which is not one that `tufline targets next` gave out since version {newest} was published"
        )));
    }
    Ok(())
}

fn refused(why: &str) -> StageError {
    StageError::refused(format!("targets refused: {why}"))
}
