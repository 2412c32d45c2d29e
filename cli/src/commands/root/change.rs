//! `tufline root add-key`, `remove-key`, `set-threshold`, `set-expiry`: edits of a root that is not published yet.

use std::path::PathBuf;

use clap::Args;
use tufline_tuf::root::{self, KeyName, RootError, RootFile};

use super::role_name::RootRoleName;
use crate::ceremony::{KeyArguments, open, parse_expiry, read_single, write};
use crate::exit::{Exit, Result};
use crate::terminal::say;
use crate::text;

/// What every edit is told.
#[derive(Debug, Args)]
struct Edited {
    /// The root's file; signatures that it has are dropped, since they are over something else then
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Of which role
    #[arg(long, default_value = "root", value_name = "ROLE")]
    role: RootRoleName,
}

impl Edited {
    fn change(&self, change: impl FnOnce(&RootFile) -> std::result::Result<RootFile, RootError>) -> Result {
        let before = open(&self.file)?;
        let after = change(&before)?;
        if after.root() == before.root() {
            say!("nothing changes");
            return Ok(Exit::Done);
        }
        write(&self.file, &after)?;
        for change in root::changes(before.root(), after.root()) {
            say!("{change}");
        }
        match before.signatures().len() as u64 {
            0 => {}
            count => say!("dropped {}: it must be signed again", text::count(count, "signature")),
        }
        Ok(Exit::Done)
    }
}

/// Lets another key sign.
#[derive(Debug, Args)]
pub struct AddKey {
    #[command(flatten)]
    edited: Edited,
    #[command(flatten)]
    keys: KeyArguments,
}

/// Lets a key no longer sign.
#[derive(Debug, Args)]
pub struct RemoveKey {
    #[command(flatten)]
    edited: Edited,
    /// The key: its holder's name, or how its id begins
    #[arg(value_name = "KEY")]
    key: String,
}

/// Sets how many keys must sign.
#[derive(Debug, Args)]
pub struct SetThreshold {
    #[command(flatten)]
    edited: Edited,
    /// How many
    #[arg(value_name = "COUNT")]
    count: u64,
}

/// Sets for how long the root is in force, or until when.
#[derive(Debug, Args)]
pub struct SetExpiry {
    /// The root's file; signatures that it has are dropped, since they are over something else then
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Such as "365 days", counted from now, or 2030-01-01T00:00:00Z
    #[arg(value_name = "TIME")]
    expires: String,
}

/// Adds a key.
pub async fn add_key(arguments: AddKey) -> Result {
    let key = read_single(&arguments.keys).await?;
    let role = arguments.edited.role.into();
    arguments.edited.change(|file| root::add_key(file, role, key))
}

/// Removes a key.
pub fn remove_key(arguments: &RemoveKey) -> Result {
    let key = KeyName(arguments.key.clone());
    arguments.edited.change(|file| root::remove_key(file, arguments.edited.role.into(), &key))
}

/// Sets a threshold.
pub fn set_threshold(arguments: &SetThreshold) -> Result {
    arguments.edited.change(|file| root::set_threshold(file, arguments.edited.role.into(), arguments.count))
}

/// Sets the expiry.
pub fn set_expiry(arguments: &SetExpiry) -> Result {
    let expires = parse_expiry(&arguments.expires)?;
    let edited = Edited { file: arguments.file.clone(), role: RootRoleName::Root };
    edited.change(|file| root::set_expiry(file, expires))
}
