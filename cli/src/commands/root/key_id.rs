//! `tufline root key-id`: says how people name a key.

use clap::Args;
use serde_json::json;
use tufline_tuf::root::{key_id, kind, short_id};

use crate::ceremony::KeyArguments;
use crate::exit::{Exit, Result};
use crate::terminal::{self, say};

/// Prints the ids of keys, which their holders compare with `tufline root show`. A root that other
/// tools made may list a key under another id.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    keys: KeyArguments,
    /// Print a line of JSON for each key, with its whole id
    #[arg(long)]
    json: bool,
}

pub async fn run(arguments: &Arguments) -> Result {
    for given in arguments.keys.read_known().await? {
        let id = key_id(&given.key)?;
        let name = given.holder.as_deref();
        if arguments.json {
            terminal::json(&json!({"keyid": hex::encode(&id), "holder": name}));
        } else {
            let name = name.map(|name| format!("{name} ")).unwrap_or_default();
            say!("key {name}{} ({})", short_id(&id), kind(&given.key));
        }
    }
    Ok(Exit::Done)
}
