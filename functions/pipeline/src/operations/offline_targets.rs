//! The top-level `targets` role in people's hands: no server has its key, and uploads still flow.
//!
//! This works where `targets` lists bins and no targets, so that no upload ever changes it. People
//! sign its next document before the old one expires. A fence takes the document's version from the
//! serial beforehand. So no other document gets that version, however long people take, and nothing
//! waits for them.
//!
//! `targets` lists the keys of the bins. To replace such a key, people sign two documents on one
//! occasion: one that lists the old key beside the new one, and one for the time when the new key
//! has signed every bin. The generation that takes in the first document also makes all deeper
//! delegating roles list both keys, and refresh has the bins signed again. The second document is
//! refused until all bins are done.

use std::collections::BTreeSet;

use bytes::Bytes;
use tough::schema::Targets;
use tufline_store::{Document, OnlineRole, Signer, Store, Written};
use tufline_tuf::delegations::PartyState;
use tufline_tuf::generation::outdated_bins;
use tufline_tuf::generation::{Folding, targets_document};
use tufline_tuf::index::Place;
use tufline_tuf::{
    AddressedDraft, BinsKeys, Config, Draft, Manifest, Parties, RoleKeys, RoleName, Signed, Time,
    foreign, verify,
};

use crate::actions::intake::Intake;
use crate::actions::make_generation::{Additions, KnownBase, make_generation};
use crate::error::{Result, StageError};
use crate::ports::policy;
use crate::state::index::{read_index, read_index_below};
use crate::state::parties::read_parties;
use crate::state::pending::Tip;
use crate::state::{ledger, roots};

/// How many races an operation loses before it gives up and tells the operator. Uploads go on
/// meanwhile.
const ATTEMPTS: usize = 100;

/// The documents that people sign on one occasion.
#[derive(Debug, Clone)]
pub struct ToSign {
    /// The document to publish next.
    pub next: Draft<Targets>,
    /// While the key of the bins is being replaced: the document to publish once the new key has
    /// signed all bins.
    pub last: Option<Draft<Targets>>,
}

/// The next document of `targets` for people to sign, valid until `expires`, and the one after it
/// if the key of the bins is to be replaced. From now on no other document can get their versions.
///
/// # Errors
/// [`StageError::Refused`]: nothing was written.
pub async fn next(
    store: &dyn Store,
    signer: &dyn Signer,
    config: &Config,
    now: Time,
    expires: Time,
) -> Result<ToSign> {
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
        let mut folding =
            Folding::new(base, index, &[], &nothing, base.bins_keys(), &others, policy)?;
        let mut document =
            |keys: &BinsKeys| targets_document(folding.reserve(), expires, &keys.listed());
        let next = document(&keys)?;
        let last = keys.old.is_some().then(|| document(&keys.alone())).transpose()?;
        if ledger::create_manifest(store, &folding.finish()?.manifest).await? == Written::Done {
            return Ok(ToSign { next, last });
        }
    }
    Err(StageError::Contended("the next document of targets", ATTEMPTS))
}

/// Publishes a document that people signed. Returns the generation that has it; the caller must
/// then enqueue `Message::Sign`. It does nothing if the document is published already.
///
/// # Errors
/// [`StageError::Refused`], [`StageError::Document`]: nothing was written.
pub async fn publish(
    store: &dyn Store,
    signer: &dyn Signer,
    config: &Config,
    now: Time,
    file: Bytes,
) -> Result<u64> {
    expect_offline(config)?;
    let root = roots::newest(store).await?;
    let document: Signed<Targets> =
        verify(file.clone(), &RoleKeys::in_root(&root, &RoleName::targets())?)?
            .expect_fresh(now)?;
    foreign::read::<Targets>(&file)
        .map_err(|why| refused(&format!("not all clients read it alike: {why}")))?;
    let draft =
        AddressedDraft::try_from(Draft::new(RoleName::targets(), document.document().clone()))?;
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
        // A crash after this leaves files that nothing refers to. The next run finds them.
        match ledger::create_same(store, &Document::signed(&document)).await? {
            Written::Done => {}
            Written::Lost => {
                let version = document.version();
                return Err(refused(&format!(
                    "another document of version {version} was published meanwhile; sign the next \
                     one"
                )));
            }
        }
        ledger::create_or_find(store, &Document::draft(&draft)).await?;
        let places: Vec<Place<'_>> = renew.iter().map(Place::Role).collect();
        let known = KnownBase::read(store, base, &places).await?;
        let judged = Intake::unchanged(base, parties, now);
        let batch = Additions { adopted: Some(&draft), ..Additions::new(&renew, &bins, &judged) };
        let Some(manifest) =
            make_generation(store, base, &known, &[], batch, policy(config, None, now)).await?
        else {
            continue;
        };
        if ledger::create_manifest(store, &manifest).await? == Written::Done {
            return Ok(manifest.generation);
        }
    }
    Err(StageError::Contended("the publication of targets", ATTEMPTS))
}

/// What else the generation needs that takes in a document.
struct Due {
    bins: BinsKeys,
    /// The deeper delegating roles, if they must list other keys than they do.
    renew: BTreeSet<RoleName>,
}

/// What else is needed with this document after `base`. The document must list the keys of the bins
/// as they are, or as they may be next.
async fn due(
    store: &dyn Store,
    signer: &dyn Signer,
    base: &Manifest,
    document: &Signed<Targets>,
) -> Result<Due> {
    let bins = base.bins_keys();
    if lists(document, &bins)? {
        return Ok(Due { bins, renew: BTreeSet::new() });
    }
    let newest = signer.newest_key(OnlineRole::Bins).await?;
    let (with, index) =
        (BinsKeys::with(base, &newest), read_index_below(store, base, |_| true).await?);
    if let Some(bins) = BinsKeys::next(base, &index, &newest)
        && lists(document, &bins)?
    {
        let delegating =
            index.entries().filter(|(_, entry)| entry.bins.is_some()).map(|(role, _)| role);
        return Ok(Due {
            bins,
            renew: delegating.filter(|role| *role != RoleName::targets()).collect(),
        });
    }
    if !lists(document, &with.alone())? {
        return Err(refused(
            "it does not delegate to the bins with their current keys; make the next one with \
             `tufline targets next`",
        ));
    }
    if bins.old.is_none() {
        return Err(refused(
            "it drops the key that signed the bins; first publish the document that lists both keys",
        ));
    }
    let left = outdated_bins(base, &index).count();
    Err(refused(&format!(
        "it drops a key whose signature {left} bins still need; wait until `tufline key rotate \
         bins` says signed"
    )))
}

/// Whether the document delegates to the bins with these keys, and to nobody else.
fn lists(signed: &Signed<Targets>, keys: &BinsKeys) -> Result<bool> {
    let document = signed.document();
    Ok(targets_document(signed.version(), document.expires, &keys.listed())?.document() == document)
}

fn expect_offline(config: &Config) -> Result<()> {
    if config.offline_targets {
        return Ok(());
    }
    Err(refused("the pipeline signs it; set offline_targets in the configuration first"))
}

/// Refuses a `targets` role that something other than people may need to change.
fn expect_fit(base: &Manifest, parties: &Parties) -> Result<()> {
    if base.top.bins.is_none() {
        return Err(refused(
            "it lists targets itself, so every upload would need a signature; start the repository \
             with --bins 256",
        ));
    }
    if let Some((party, _)) =
        parties.parties.iter().find(|(_, party)| party.state != PartyState::Removed)
    {
        return Err(refused(&format!(
            "there is a delegation to {party}, whose delivery may change it at any time; remove \
             the delegation first"
        )));
    }
    Ok(())
}

/// Refuses a document whose version was not reserved for it, or is not above the one in use.
fn expect_given_out(base: &Manifest, signed: &Signed<Targets>) -> Result<()> {
    let (version, newest) = (signed.version(), base.top.document.version);
    if version <= newest || version > base.serial {
        return Err(refused(&format!(
            "it has version {version}, which `tufline targets next` did not give out since version \
             {newest} was published"
        )));
    }
    Ok(())
}

fn refused(why: &str) -> StageError {
    StageError::refused(format!("targets refused: {why}"))
}
