//! The top-level targets role in the hands of people: its key is on no server, and everything else still flows.
//!
//! That works where `targets` lists bins and no targets, so that no upload ever changes it. People sign its next document when it expires.
//! The document's number is taken from the serial beforehand, by a fence: so it is nobody else's, however long they take, and nothing
//! waits for them.

use std::collections::BTreeSet;

use bytes::Bytes;
use tough::schema::Targets;
use tufline_store::{Document, Store, Written};
use tufline_tuf::generation::{Folding, Others, Policy, targets_document};
use tufline_tuf::parties::PartyState;
use tufline_tuf::{
    AddressedDraft, BinsKeys, Config, Draft, Manifest, Parties, RoleKeys, RoleName, Signed, Time, verify,
};

use crate::index::index;
use crate::ledger;
use crate::parties::parties;
use crate::ports::{Result, StageError, policy};
use crate::roots;

/// After so many lost races the operator is told; uploads go on meanwhile.
const ATTEMPTS: usize = 100;

/// The next document of `targets`, to be signed by people, in force until `expires`. Its number is nobody else's from now on.
///
/// # Errors
/// [`StageError::Refused`]: nothing was written.
pub async fn next(store: &dyn Store, config: &Config, now: Time, expires: Time) -> Result<Draft<Targets>> {
    expect_offline(config)?;
    for _ in 0..ATTEMPTS {
        let (_, base) = ledger::newest(store).await?;
        let parties = parties(store, &base).await?;
        expect_fit(&base, &parties)?;
        let mut number = 0;
        let made = make(store, &base, parties, policy(config, None, now), |folding| number = folding.reserve());
        if made.await? == Written::Done {
            return Ok(targets_document(number, expires, &base.bins_keys().listed())?);
        }
    }
    Err(StageError::Contended("the next document of targets", ATTEMPTS))
}

/// Publishes a document that people signed; answers the generation that has it. Somebody must ask sign for it then. Harmless where it is
/// published already.
///
/// # Errors
/// [`StageError::Refused`], [`StageError::Document`]: nothing was written.
pub async fn publish(store: &dyn Store, config: &Config, now: Time, file: Bytes) -> Result<u64> {
    expect_offline(config)?;
    let root = roots::newest(store).await?;
    let signed: Signed<Targets> = verify(file, &RoleKeys::in_root(&root, &RoleName::targets())?)?.expect_fresh(now)?;
    for _ in 0..ATTEMPTS {
        let (_, base) = ledger::newest(store).await?;
        let parties = parties(store, &base).await?;
        expect_fit(&base, &parties)?;
        let draft = AddressedDraft::try_from(Draft::new(RoleName::targets(), signed.document().clone()))?;
        let newest = &base.top.document;
        if (newest.version, newest.draft) == (signed.version(), draft.digest()) {
            return Ok(base.generation);
        }
        expect_next(&base, &signed)?;
        // A crash after this leaves a file that nothing refers to; the next run finds it.
        match ledger::create_same(store, &Document::signed(&signed)).await? {
            Written::Done => {}
            Written::Lost => {
                let version = signed.version();
                return Err(refused(&format!(
                    "another document of version {version} was published meanwhile; begin with the next"
                )));
            }
        }
        ledger::create_or_find(store, &Document::draft(&draft)).await?;
        let made = make(store, &base, parties, policy(config, None, now), |folding| folding.adopt(&draft));
        if made.await? == Written::Done {
            return Ok(base.generation + 1);
        }
    }
    Err(StageError::Contended("the publication of targets", ATTEMPTS))
}

/// Makes the generation after `base` in which `change` alone is new.
async fn make(
    store: &dyn Store,
    base: &Manifest,
    parties: Parties,
    policy: Policy<'_>,
    change: impl FnOnce(&mut Folding<'_>),
) -> Result<Written> {
    let others = Others { parties, digest: base.parties, ..Others::default() };
    let (nothing, bins): (_, BinsKeys) = (BTreeSet::new(), base.bins_keys());
    let index = index(store, base, &[]).await?;
    let mut folding = Folding::new(base, index, &[], &nothing, bins, &others, policy)?;
    change(&mut folding);
    ledger::create_manifest(store, &folding.finish()?.manifest).await
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

/// Whether the document says what `targets` must say after `base`.
fn expect_next(base: &Manifest, signed: &Signed<Targets>) -> Result<()> {
    let document = signed.document();
    let due = targets_document(signed.version(), document.expires, &base.bins_keys().listed())?;
    if *due.document() != *document {
        return Err(refused(
            "it doesn't delegate to the bins as they are now; make the next one with `tufline targets next`",
        ));
    }
    let (version, newest) = (signed.version(), base.top.document.version);
    if version <= newest || version > base.serial {
        return Err(refused(&format!(
            "it has version {version}, which is not one that `tufline targets next` gave out since version {newest} was published"
        )));
    }
    Ok(())
}

fn refused(why: &str) -> StageError {
    StageError::Refused(format!("targets refused: {why}"))
}
