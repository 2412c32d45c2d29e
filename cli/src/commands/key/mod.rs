//! `tufline key`: the online keys.

mod roots;
mod rotate;

use clap::{Args, Subcommand};

use crate::exit::Result;

/// Replaces the online keys, with which the repository itself signs.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Rotate(rotate::Arguments),
}

pub async fn run(arguments: Arguments) -> Result {
    match arguments.command {
        Command::Rotate(arguments) => rotate::run(arguments).await,
    }
}
