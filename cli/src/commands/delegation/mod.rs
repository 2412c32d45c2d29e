//! `tufline delegation`: other parties, who sign for their own names.

mod change;
mod show;
mod sign;

use clap::{Args, Subcommand};

use crate::exit::Result;

/// Hands names to other parties, who sign for them with keys of their own.
///
/// docs/delegations.md has the whole way, for both sides.
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

/// Runs the one that was asked for.
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
