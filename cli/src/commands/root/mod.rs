//! `tufline root`: the root, whose keys people hold. It travels as a file, and each holder signs it
//! on their own machine.

use clap::{Args, Subcommand};

use crate::exit::Result;

mod change;
mod init;
mod key_id;
mod keygen;
mod merge;
mod next;
mod publish;
mod role_name;
mod show;
mod sign;
mod withdraw;

/// Makes, shows, signs and publishes the root, the base of all that devices trust.
///
/// docs/keys.md shows a whole ceremony, step by step.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Keygen(keygen::Arguments),
    KeyId(key_id::Arguments),
    Init(init::Arguments),
    Next(next::Arguments),
    AddKey(change::AddKey),
    RemoveKey(change::RemoveKey),
    SetThreshold(change::SetThreshold),
    SetExpiry(change::SetExpiry),
    Show(show::Arguments),
    Sign(sign::Arguments),
    Merge(merge::Arguments),
    Publish(publish::Arguments),
    Withdraw(withdraw::Arguments),
}

pub async fn run(arguments: Arguments) -> Result {
    match arguments.command {
        Command::Keygen(arguments) => keygen::run(&arguments),
        Command::KeyId(arguments) => key_id::run(&arguments).await,
        Command::Init(arguments) => init::run(arguments).await,
        Command::Next(arguments) => next::run(arguments).await,
        Command::AddKey(arguments) => change::add_key(arguments).await,
        Command::RemoveKey(arguments) => change::remove_key(&arguments),
        Command::SetThreshold(arguments) => change::set_threshold(&arguments),
        Command::SetExpiry(arguments) => change::set_expiry(&arguments),
        Command::Show(arguments) => show::run(arguments).await,
        Command::Sign(arguments) => sign::run(arguments).await,
        Command::Merge(arguments) => merge::run(&arguments),
        Command::Publish(arguments) => publish::run(arguments).await,
        Command::Withdraw(arguments) => withdraw::run(arguments).await,
    }
}
