//! Packs of a repository as `functions/pipeline/benches/scale` writes it (`write`), which lies in memory:
//!
//! ```text
//! cargo bench -p tufline-serve --bench packs -- answer FOLDER
//! cargo bench -p tufline-serve --bench packs -- rate FOLDER --count 1000000
//! cargo bench -p tufline-serve --bench packs -- worst FOLDER
//! ```
//!
//! `answer` answers whatever devices ask, for `tests/bench_lib/counting.py`, which is their server; `rate` says how many packs and files one thread
//! makes in a second, and what stays in memory; `worst` asks what costs this server the most.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answer;
mod devices;
mod folder;
mod rate;
mod worst;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// `cargo bench` says this to every bench
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Answers requests, which come in lines of JSON
    Answer {
        /// The repository
        folder: PathBuf,
    },
    /// How many packs, and how many files, one thread makes in a second
    Rate {
        /// The repository
        folder: PathBuf,
        /// How many packs, and how many files
        #[arg(long, default_value_t = 1_000_000)]
        count: usize,
    },
    /// What the worst questions cost
    Worst {
        /// The repository
        folder: PathBuf,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    match Arguments::parse().command {
        Command::Answer { folder } => answer::run(&folder).await,
        Command::Rate { folder, count } => rate::run(&folder, count).await,
        Command::Worst { folder } => worst::run(&folder).await,
    }
}
