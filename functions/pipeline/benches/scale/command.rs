//! The bench's command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};
use tufline_tuf::config::TargetsPerBin;

use crate::measure::{self, Measured, measured, median};
use crate::metered::Delays;
use crate::pump::Pump;
use crate::requests;
use crate::states;
use crate::world::{World, name};

/// How many targets go into one generation, if only the filled repository matters.
const LARGE_BATCH: usize = 250_000;

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
    /// Publish new targets one by one
    One {
        #[command(flatten)]
        repository: Repository,
        /// How many new targets
        #[arg(long, default_value_t = 20)]
        samples: usize,
        /// How many more, with every request taking as long as on AWS
        #[arg(long, default_value_t = 5)]
        delayed: usize,
    },
    /// Publish many new targets at once
    Burst {
        #[command(flatten)]
        repository: Repository,
        /// How many new targets
        #[arg(long, default_value_t = 10_000)]
        new: usize,
        #[command(flatten)]
        network: Network,
    },
    /// Measure the CPU time of each stage's invocations, one after another, for many new targets at
    /// once or a new key of the bins
    Stages {
        #[command(flatten)]
        repository: Repository,
        /// How many new targets
        #[arg(long, default_value_t = 10_000)]
        new: usize,
        /// Replace the key of the bins instead
        #[arg(long)]
        bins_key: bool,
    },
    /// Measure the CPU time of a request to S3
    Requests {
        /// How many requests
        #[arg(long, default_value_t = 20_000)]
        count: usize,
    },
    /// Fill an empty repository, in batches as large as AWS delivers
    Fill {
        #[command(flatten)]
        repository: Repository,
        /// How many changes go into one generation: an invocation takes 6 MB of messages
        #[arg(long, default_value_t = 40_000)]
        batch: usize,
    },
    /// Write what devices see of a repository before and after changes, see `states.rs`
    Write {
        #[command(flatten)]
        repository: Repository,
        /// The folder to write to
        #[arg(long)]
        write: PathBuf,
    },
}

#[derive(Args)]
struct Repository {
    /// How many targets the repository has
    #[arg(long)]
    targets: usize,
    /// The setting `max_targets_per_bin`, if not the default
    #[arg(long)]
    per_bin: Option<u32>,
}

#[derive(Args)]
struct Network {
    /// Make every request take as long as on AWS
    #[arg(long)]
    delays: bool,
    /// How long uploads and changes wait for others, in milliseconds; on AWS it is a second
    #[arg(long, default_value_t = 0)]
    window: u64,
}

impl Repository {
    fn per_bin(&self) -> TargetsPerBin {
        self.per_bin.map_or_else(TargetsPerBin::default, |targets| targets.try_into().unwrap())
    }

    async fn filled(&self) -> World {
        let world = World::new(self.per_bin()).await;
        world.fill(self.targets, LARGE_BATCH).await;
        world
    }

    fn described(&self) -> Value {
        json!({"targets": self.targets, "per_bin": u32::from(self.per_bin())})
    }
}

impl Network {
    fn pump<'a>(&self, world: &'a World) -> Pump<'a> {
        let delays = if self.delays { Delays::of_aws() } else { Delays::none() };
        Pump::new(world, delays, Duration::from_millis(self.window))
    }

    fn described(&self) -> Value {
        json!({"delays": self.delays, "window_ms": self.window})
    }
}

/// Does what the command line says, and prints the measurements.
pub async fn run() {
    let mut line = match Arguments::parse().command {
        Command::One { repository, samples, delayed } => one(&repository, samples, delayed).await,
        Command::Burst { repository, new, network } => burst(&repository, new, &network).await,
        Command::Stages { repository, new, bins_key } => stages(&repository, new, bins_key).await,
        Command::Requests { count } => {
            json!({"what": "requests", "count": count, "cpu_seconds": requests::seconds_of_a_head(count).await})
        }
        Command::Fill { repository, batch } => fill(&repository, batch).await,
        Command::Write { repository, write } => {
            let world = repository.filled().await;
            states::write(&world, repository.targets, &write).await;
            merged([repository.described(), json!({"what": "write"}), world.sizes()])
        }
    };
    line.sort_all_objects();
    println!("{line}");
}

async fn one(repository: &Repository, samples: usize, delayed: usize) -> Value {
    let world = repository.filled().await;
    let fast = singles(&world, Delays::none(), repository.targets, samples).await;
    let slow = singles(&world, Delays::of_aws(), repository.targets + samples, delayed).await;
    let line = json!({"what": "one", "samples": samples, "median": fast.described(), "delayed": slow.described()});
    merged([repository.described(), line, world.sizes()])
}

/// Publishes the targets `first` to `first + count`, one by one. Returns the median of each figure.
async fn singles(world: &World, delays: Delays, first: usize, count: usize) -> Measured {
    let pump = Pump::new(world, delays, Duration::ZERO);
    let mut taken = Vec::with_capacity(count);
    for name in (first..first + count).map(name) {
        taken.push(measured(&pump, async { world.upload(&name, name.as_bytes()) }).await);
        world.check_published(std::slice::from_ref(&name));
    }
    median(&taken)
}

async fn burst(repository: &Repository, new: usize, network: &Network) -> Value {
    let world = repository.filled().await;
    let pump = network.pump(&world);
    let names: Vec<String> = (repository.targets..repository.targets + new).map(name).collect();
    let taken = measured(&pump, async {
        for name in &names {
            world.upload(name, name.as_bytes());
        }
    })
    .await;
    world.check_published(&names);
    let line = json!({"what": "burst", "new": new, "burst": taken.described()});
    merged([repository.described(), network.described(), line, world.sizes()])
}

async fn stages(repository: &Repository, new: usize, bins_key: bool) -> Value {
    let world = repository.filled().await;
    let pump = Pump::new(&world, Delays::none(), Duration::ZERO).one_by_one();
    let names: Vec<String> = if bins_key {
        Vec::new()
    } else {
        (repository.targets..repository.targets + new).map(name).collect()
    };
    for name in &names {
        world.upload(name, name.as_bytes());
    }
    if bins_key {
        pump.change_bins_key().await;
    }
    let mut rounds = Vec::new();
    while world.calls() > 0 {
        rounds.push(measured(&pump, async {}).await.described());
        pump.refresh().await;
    }
    world.check_published(&names);
    let line =
        json!({"what": "stages", "new": names.len(), "bins_key": bins_key, "rounds": rounds});
    merged([repository.described(), line, world.sizes()])
}

async fn fill(repository: &Repository, batch: usize) -> Value {
    let world = World::new(repository.per_bin()).await;
    let taken = measure::clocked(world.fill(repository.targets, batch)).await;
    let line = json!({"what": "fill", "batch": batch, "seconds": taken.seconds, "cpu_seconds": taken.cpu_seconds});
    merged([repository.described(), line, world.sizes(), world.stored()])
}

fn merged<const PARTS: usize>(parts: [Value; PARTS]) -> Value {
    let objects = parts
        .into_iter()
        .filter_map(|part| if let Value::Object(fields) = part { Some(fields) } else { None });
    Value::Object(objects.flatten().collect())
}
