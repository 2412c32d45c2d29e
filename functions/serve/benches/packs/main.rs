//! Measures packs of a repository in memory. `functions/pipeline/benches/scale` writes the
//! repository (`write`):
//!
//! ```text
//! cargo bench -p tufline-serve --bench packs -- answer FOLDER
//! cargo bench -p tufline-serve --bench packs -- rate FOLDER --count 1000000
//! cargo bench -p tufline-serve --bench packs -- worst FOLDER
//! ```
//!
//! `answer` answers the devices of `tests/bench_lib/counting.py`, as their server. `rate` measures
//! how many packs and files one thread makes in a second, and what stays in memory. `worst` asks
//! the questions that cost this server the most.

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
    /// `cargo bench` passes this to every bench
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests, which come as lines of JSON
    Answer {
        /// The folder with the repository
        folder: PathBuf,
    },
    /// Measure how many packs and files one thread makes in a second
    Rate {
        /// The folder with the repository
        folder: PathBuf,
        /// How many packs, and how many files, to ask for
        #[arg(long, default_value_t = 1_000_000)]
        count: usize,
    },
    /// Measure what the worst questions cost
    Worst {
        /// The folder with the repository
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
