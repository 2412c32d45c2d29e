//! `tufline delegation`: other parties, which sign for their own names.

mod change;
mod show;
mod sign;

use clap::{Args, Subcommand};

use crate::exit::Result;

/// Delegates names to other parties, which sign for them with their own keys.
///
/// docs/delegations.md shows every step, for both sides.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(change::Create),
    Show(show::Arguments),
    AddKey(change::AddPartyKey),
    RemoveKey(change::RemovePartyKey),
    Remove(change::Remove),
    Sign(sign::Arguments),
}

pub async fn run(arguments: Arguments) -> Result {
    match arguments.command {
        Command::Create(arguments) => change::create(arguments).await,
        Command::Show(arguments) => show::run(arguments).await,
        Command::AddKey(arguments) => change::add_key(arguments).await,
        Command::RemoveKey(arguments) => change::remove_key(arguments).await,
        Command::Remove(arguments) => change::remove(arguments).await,
        Command::Sign(arguments) => sign::run(arguments).await,
    }
}
