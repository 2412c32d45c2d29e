//! `tufline delegation create`, `add-key`, `remove-key`, `remove`: what an operator decides.

use clap::Args;
use serde_json::json;
use tufline_pipeline::operations::delegation;
use tufline_store::Change;
use tufline_tuf::parties::PartyEdit;
use tufline_tuf::root::RootKey;
use tufline_tuf::{Pattern, RoleName};

use crate::outcome::{Outcome, Result};
use crate::root::document::now;
use crate::root::key::{KeyArguments, single};
use crate::root::place::PlaceArguments;
use crate::show::{self, say};

/// Where, and how to tell.
#[derive(Debug, Args)]
struct Common {
    /// The party's role, such as vendor-x
    #[arg(value_name = "ROLE")]
    role: RoleName,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

/// Hands names to another party. On AWS it needs an operator's keys.
///
/// From then on nobody else publishes under these names; devices find the party's targets once it has delivered a document.
#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    common: Common,
    /// Its names, such as 'vendor-x/*': '*' stands for any characters but '/', '?' for one
    #[arg(long, required = true, num_args = 1.., value_name = "PATTERN")]
    paths: Vec<Pattern>,
    #[command(flatten)]
    keys: KeyArguments,
    /// How many of its keys must sign
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    threshold: u64,
}

/// Lets another key sign for a party.
#[derive(Debug, Args)]
pub struct AddKey {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    keys: KeyArguments,
    /// How many keys must sign from now on
    #[arg(long, value_name = "COUNT")]
    threshold: Option<u64>,
}

/// Lets a key no longer sign for a party. What it has published must be signed by enough of the others.
#[derive(Debug, Args)]
pub struct RemoveKey {
    #[command(flatten)]
    common: Common,
    /// The key: how its id begins, as `tufline delegation show` tells it
    #[arg(value_name = "KEY")]
    key: String,
    /// How many keys must sign from now on
    #[arg(long, value_name = "COUNT")]
    threshold: Option<u64>,
}

/// Takes a party's names back: devices no longer find its targets.
#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    common: Common,
    /// Let the names be published by whoever uploads to this repository
    #[arg(long)]
    release: bool,
}

/// Creates one.
pub async fn create(arguments: Create) -> Result {
    let keys = arguments.keys.read().await?.into_iter().map(|RootKey { key, .. }| key).collect();
    let (paths, threshold) = (arguments.paths, arguments.threshold);
    change(arguments.common, PartyEdit::Create { paths, keys, threshold }).await
}

/// Adds a key.
pub async fn add_key(arguments: AddKey) -> Result {
    let RootKey { key, .. } = single(&arguments.keys).await?;
    change(arguments.common, PartyEdit::AddKey { key, threshold: arguments.threshold }).await
}

/// Removes a key.
pub async fn remove_key(arguments: RemoveKey) -> Result {
    let RemoveKey { common, key, threshold } = arguments;
    change(common, PartyEdit::RemoveKey { id: key, threshold }).await
}

/// Removes one.
pub async fn remove(arguments: Remove) -> Result {
    change(arguments.common, PartyEdit::Remove { release: arguments.release }).await
}

async fn change(common: Common, edit: PartyEdit) -> Result {
    let Common { role, json, place } = common;
    let place = place.find().await?;
    let store = place.store()?;
    let config = place.config()?;
    let generation = delegation::change(&*store, &config, now(), &role, &edit).await?;
    let next = place.wake(vec![Change::Delivery { role: role.clone() }]).await?;
    if json {
        show::json(&json!({"outcome": "changed", "role": role, "generation": generation}));
    } else {
        say!("changed {role}: generation {generation}{next}");
    }
    Ok(Outcome::Done)
}
