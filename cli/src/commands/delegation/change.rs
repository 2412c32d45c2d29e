//! `tufline delegation create`, `add-key`, `remove-key` and `remove`: the operator's decisions.

use clap::Args;
use serde_json::json;
use tufline_pipeline::operations::delegation;
use tufline_store::Change;
use tufline_tuf::delegations::PartyEdit;
use tufline_tuf::root::{RootKey, written_id};
use tufline_tuf::{Pattern, RoleName};

use crate::ceremony::{KeyArguments, read_single};
use crate::exit::{Exit, Result};
use crate::process::now;
use crate::repository::RepositoryArguments;
use crate::terminal::{self, say};

/// The arguments that all of these commands share.
#[derive(Debug, Args)]
struct PartyArguments {
    /// The party's role, such as vendor-x
    #[arg(value_name = "ROLE")]
    role: RoleName,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: RepositoryArguments,
}

/// Delegates names to another party. On AWS it needs an operator's credentials.
///
/// From then on only the party publishes under these names. Devices find its targets once it has
/// delivered a document.
#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    party: PartyArguments,
    /// The party's names, such as 'vendor-x/*': '*' stands for any characters but '/', '?' for one
    /// such character
    #[arg(long, required = true, num_args = 1.., value_name = "PATTERN")]
    paths: Vec<Pattern>,
    #[command(flatten)]
    keys: KeyArguments,
    /// How many of the party's keys must sign
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    threshold: u64,
}

/// Adds a key that may sign for a party.
#[derive(Debug, Args)]
pub struct AddPartyKey {
    #[command(flatten)]
    party: PartyArguments,
    #[command(flatten)]
    keys: KeyArguments,
    /// How many keys must sign from now on
    #[arg(long, value_name = "COUNT")]
    threshold: Option<u64>,
}

/// Removes a key from a party. Enough of the remaining keys must have signed what the party has
/// published.
#[derive(Debug, Args)]
pub struct RemovePartyKey {
    #[command(flatten)]
    party: PartyArguments,
    /// The key, by the first digits of its id, as `tufline delegation show` prints them
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
    party: PartyArguments,
    /// Let this repository's own uploads publish under these names again
    #[arg(long)]
    release: bool,
}

pub async fn create(arguments: Create) -> Result {
    let keys = arguments.keys.read().await?.into_iter().map(|RootKey { key, .. }| key).collect();
    let (paths, threshold) = (arguments.paths, arguments.threshold);
    change(arguments.party, PartyEdit::Create { paths, keys, threshold }).await
}

pub async fn add_key(arguments: AddPartyKey) -> Result {
    let RootKey { key, .. } = read_single(&arguments.keys).await?;
    change(arguments.party, PartyEdit::AddKey { key, threshold: arguments.threshold }).await
}

pub async fn remove_key(arguments: RemovePartyKey) -> Result {
    let RemovePartyKey { party, key, threshold } = arguments;
    change(party, PartyEdit::RemoveKey { id: written_id(&key), threshold }).await
}

pub async fn remove(arguments: Remove) -> Result {
    change(arguments.party, PartyEdit::Remove { release: arguments.release }).await
}

async fn change(party: PartyArguments, edit: PartyEdit) -> Result {
    let PartyArguments { role, json, repository } = party;
    let repository = repository.open().await?;
    let store = repository.store()?;
    let config = repository.config()?;
    let generation = delegation::change(&*store, &config, now(), &role, &edit).await?;
    let next = repository.wake(vec![Change::Delivery { role: role.clone() }]).await?;
    if json {
        terminal::json(&json!({"outcome": "changed", "role": role, "generation": generation}));
    } else {
        say!("changed {role}: generation {generation}{next}");
    }
    Ok(Exit::Done)
}
