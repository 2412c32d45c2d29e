//! Makes the first root and the first generation.

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

/// Makes a development root and the first generation, unless they exist, then nudges sign. One key,
/// which a program holds, signs the root; the root trusts the online keys. The generation is split
/// into `bins`. It is safe to run again after a crash anywhere.
///
/// # Errors
/// [`StageError::Refused`] if another run created a root at the same time, or the configuration
/// pins another root.
pub async fn init(ports: &Ports, root_key: &dyn Sign, bins: FirstBins) -> Result<()> {
    let store = &*ports.store;
    if roots::first(store).await?.is_none() {
        let draft = development_root(ports, root_key).await?;
        roots::expect_free(store, Some(root::contents(draft.document())?))?;
        let keys = own_keys(draft.document())?;
        let id = key_id(&root_key.tuf_key())?;
        let prepared = draft.prepare()?;
        let sig =
            root_key.sign(prepared.message(), &SystemRandom::new()).await.map_err(|error| {
                StageError::refused_for(format!("the root key does not sign: {error}"), error)
            })?;
        let signed = prepared.sign(vec![Signature { keyid: id, sig: sig.into() }], &keys)?;
        if store.create(&Document::signed(&signed)).await? == Written::Lost {
            return Err(StageError::refused("somebody else created a root at the same time"));
        }
    }
    first_generation(ports, bins).await
}

/// Makes the first generation, split into `bins`, unless it exists, then nudges sign. The root must
/// exist. It is safe to run again after a crash anywhere.
///
/// # Errors
/// A request failed.
pub async fn first_generation(ports: &Ports, bins: FirstBins) -> Result<()> {
    let store = &*ports.store;
    // An import's first generation has a higher number than 1.
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

/// The public online keys that a repository's first root lists.
///
/// # Errors
/// A request failed.
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
