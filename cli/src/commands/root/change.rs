//! `tufline root add-key`, `remove-key`, `set-threshold` and `set-expiry`: edits of a root before
//! its publication.

use std::path::PathBuf;

use clap::Args;
use tufline_tuf::root::{self, KeyName, RootError, RootFile};

use super::role_name::RootRoleName;
use crate::ceremony::{KeyArguments, open, parse_expiry, read_single, write};
use crate::exit::{Exit, Result};
use crate::terminal::say;
use crate::text;

/// The arguments that the edits share.
#[derive(Debug, Args)]
struct Edited {
    /// The root file; an edit drops its signatures, since they no longer match
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The role to edit
    #[arg(long, default_value = "root", value_name = "ROLE")]
    role: RootRoleName,
}

impl Edited {
    fn change(
        &self,
        change: impl FnOnce(&RootFile) -> std::result::Result<RootFile, RootError>,
    ) -> Result {
        let before = open(&self.file)?;
        let after = change(&before)?;
        if after.root() == before.root() {
            say!("nothing changed");
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

/// Adds a key that may sign for a role.
#[derive(Debug, Args)]
pub struct AddKey {
    #[command(flatten)]
    edited: Edited,
    #[command(flatten)]
    keys: KeyArguments,
}

/// Removes a key from a role.
#[derive(Debug, Args)]
pub struct RemoveKey {
    #[command(flatten)]
    edited: Edited,
    /// The key: its holder's name, or the first digits of its id
    #[arg(value_name = "KEY")]
    key: String,
}

/// Sets how many of a role's keys must sign.
#[derive(Debug, Args)]
pub struct SetThreshold {
    #[command(flatten)]
    edited: Edited,
    /// The number of keys
    #[arg(value_name = "COUNT")]
    count: u64,
}

/// Sets when the root expires.
#[derive(Debug, Args)]
pub struct SetExpiry {
    /// The root file; an edit drops its signatures, since they no longer match
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A time, such as 2030-01-01T00:00:00Z, or how long from now, such as "365 days"
    #[arg(value_name = "TIME")]
    expires: String,
}

pub async fn add_key(arguments: AddKey) -> Result {
    let key = read_single(&arguments.keys).await?;
    let role = arguments.edited.role.into();
    arguments.edited.change(|file| root::add_key(file, role, key))
}

pub fn remove_key(arguments: &RemoveKey) -> Result {
    let key = KeyName(arguments.key.clone());
    arguments.edited.change(|file| root::remove_key(file, arguments.edited.role.into(), &key))
}

pub fn set_threshold(arguments: &SetThreshold) -> Result {
    arguments
        .edited
        .change(|file| root::set_threshold(file, arguments.edited.role.into(), arguments.count))
}

pub fn set_expiry(arguments: &SetExpiry) -> Result {
    let expires = parse_expiry(&arguments.expires)?;
    let edited = Edited { file: arguments.file.clone(), role: RootRoleName::Root };
    edited.change(|file| root::set_expiry(file, expires))
}
