//! The first root and the first generation.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::{Root, Signature};
use tough::sign::Sign;
use tufline_store::{Document, Message, OnlineRole, Signer, Written};
use tufline_tuf::generation::FirstBins;
use tufline_tuf::root::{OnlineKeys, own_keys};
use tufline_tuf::{Draft, generation, root, time};

use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::{ledger, roots};

/// Makes a development root, signed by one key that a program holds, that trusts the online keys, and the first generation,
/// split into `bins`, unless they are there; then nudges sign. Safe to run again after a crash anywhere.
///
/// # Errors
/// [`StageError::Refused`] where a root of other keys is there, or another is pinned.
pub async fn init(ports: &Ports, root_key: &dyn Sign, bins: FirstBins) -> Result<()> {
    let store = &*ports.store;
    if roots::first(store).await?.is_none() {
        let draft = development_root(ports, root_key).await?;
        roots::expect_free(store, Some(root::contents(draft.document())?))?;
        let keys = own_keys(draft.document())?;
        let id = key_id(&root_key.tuf_key())?;
        let prepared = draft.prepare()?;
        let sig = root_key
            .sign(prepared.message(), &SystemRandom::new())
            .await
            .map_err(|error| StageError::refused_for(format!("the root key does not sign: {error}"), error))?;
        let signed = prepared.sign(vec![Signature { keyid: id, sig: sig.into() }], &keys)?;
        if store.create(&Document::signed(&signed)).await? == Written::Lost {
            return Err(StageError::refused("a root was created by someone else at the same time"));
        }
    }
    first_generation(ports, bins).await
}

/// Makes the first generation, split into `bins`, under a root that is there, unless that is done, and nudges sign. Safe to run
/// again after a crash anywhere.
///
/// # Errors
/// Requests that failed.
pub async fn first_generation(ports: &Ports, bins: FirstBins) -> Result<()> {
    let store = &*ports.store;
    // An import's has a higher number than 1.
    if ledger::first_generation(store).await?.is_none() {
        let bins_key = ports.signer.newest_key(OnlineRole::Bins).await?;
        let (first, drafts) = generation::first(ports.policy(None), bins_key, bins)?;
        ledger::begin(store, &first, &drafts).await?;
    }
    ports.queues.send(&Message::Sign, Duration::ZERO).await?;
    Ok(())
}

async fn development_root(ports: &Ports, root_key: &dyn Sign) -> Result<Draft<Root>> {
    let expires = time::after(ports.clock.now(), ports.config.expiry.root.seconds());
    Ok(root::first(root_key.tuf_key(), online_keys(&*ports.signer).await?, expires)?)
}

/// The public keys of a repository that stand in its first root.
///
/// # Errors
/// Requests that failed.
pub async fn online_keys(signer: &dyn Signer) -> Result<OnlineKeys> {
    Ok(OnlineKeys {
        targets: signer.newest_key(OnlineRole::Targets).await?,
        snapshot: signer.newest_key(OnlineRole::Snapshot).await?,
        timestamp: signer.newest_key(OnlineRole::Timestamp).await?,
    })
}

fn key_id(key: &tough::schema::key::Key) -> Result<Decoded<Hex>> {
    key.key_id().map_err(|error| StageError::Record("root key".into(), error.into()))
}
