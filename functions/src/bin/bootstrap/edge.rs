//! Where a function meets its surroundings: environment, logs, and the adapters of AWS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use metrics_cloudwatch_embedded::Collector;
use tracing_subscriber::EnvFilter;
use tufline_aws::{Access, Clients, Resources, SqsQueues, SystemClock};
use tufline_functions::{Deadline, Ports, ReadingMemory, measure};
use tufline_store::{CachedStore, Queue, VerifiedRoots};
use tufline_tuf::{Config, Time};

/// So much of what never changes is kept between invocations, in bytes. The functions have 512 MB at least
/// (`cdk/lib/functions.ts`).
const MOST_KEPT: u64 = 32 * 1024 * 1024;

/// What this function runs.
pub enum Stage {
    /// The stage of a queue.
    Queue(Queue),
    /// Refresh, woken by a schedule.
    Refresh,
    /// Serve, woken by devices.
    Serve,
}

/// What this function works with.
pub struct World {
    pub ports: Ports,
    /// For returning failed messages: that is Lambda's affair, and no port of the stages.
    pub queues: Arc<SqsQueues>,
    /// What the keys of uploads begin with.
    pub prefix: String,
}

#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Structured logs, a JSON object a line, as CloudWatch reads them; `RUST_LOG` says how many.
pub fn start_logs() {
    let filter = EnvFilter::try_new(variable("RUST_LOG").unwrap_or_else(|| "info".into())).unwrap_or_default();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_ansi(false)
        .init();
}

/// Begins to collect what the stages measure. It is flushed to the log after each invocation, in the embedded format that
/// CloudWatch reads metrics from.
pub fn start_metrics() -> Result<&'static Collector> {
    let repository =
        variable("TUFLINE_REPOSITORY").context("TUFLINE_REPOSITORY is not set: give it the repository's name")?;
    let collector = metrics_cloudwatch_embedded::Builder::new()
        .cloudwatch_namespace(measure::NAMESPACE)
        .with_dimension("Repository", repository)
        .init()
        .map_err(|error| anyhow!(error))?;
    measure::describe();
    Ok(collector)
}

/// The stage that the handler's name names.
pub fn stage() -> Result<Stage> {
    let handler = variable("_HANDLER").context("_HANDLER is not set: this program is started by Lambda")?;
    Ok(match handler.as_str() {
        "hash" => Stage::Queue(Queue::Uploads),
        "large" => Stage::Queue(Queue::Large),
        "rebuild" => Stage::Queue(Queue::Changes),
        "sign" => Stage::Queue(Queue::Sign),
        "publish" => Stage::Queue(Queue::Publish),
        "refresh" => Stage::Refresh,
        "serve" => Stage::Serve,
        other => {
            bail!(
                "no stage is called '{other}': the handler must be hash, large, rebuild, sign, publish, refresh or serve"
            )
        }
    })
}

/// What a run of large needs at its end: the piece that is under way (20 seconds if S3 is slow), to store how far it came, and to
/// send a message.
const LAST_PIECE: Duration = Duration::from_secs(90);

/// What a run of the other stages needs: to sign and check what the uploads were asked of, to write it, and to send a message.
const LAST_STEPS: Duration = Duration::from_secs(25);

/// When a run that Lambda stops at `deadline` (milliseconds since 1970) may begin something for the last time.
pub fn last_beginning(queue: Queue, deadline: u64) -> Time {
    let last_steps = if queue == Queue::Large { LAST_PIECE } else { LAST_STEPS };
    let deadline = i64::try_from(deadline).ok().and_then(|deadline| Time::from_millisecond(deadline).ok());
    deadline.and_then(|deadline| deadline.checked_sub(last_steps).ok()).unwrap_or(Time::MIN)
}

/// What the operator chose.
pub fn config() -> Result<Config> {
    let config = variable("TUFLINE_CONFIG").unwrap_or_else(|| "{}".into());
    serde_json::from_str(&config).context("TUFLINE_CONFIG")
}

/// Builds the ports. Sends nothing: that keeps a cold start short.
pub async fn world() -> Result<World> {
    let resources = Resources::from_variables(variable);
    let clients = Clients::new(Access::default()).await?;
    let queues = Arc::new(resources.queues(&clients)?);
    let config = config()?;
    let verified = VerifiedRoots::new(Arc::new(resources.store(&clients)?), config.trusted_root);
    let ports = Ports {
        store: Arc::new(CachedStore::new(Arc::new(verified), MOST_KEPT)),
        uploads: Arc::new(resources.uploads(&clients)?),
        deliveries: Arc::new(resources.deliveries(&clients)?),
        blobs: Arc::new(resources.blobs(&clients, config.large_uploads.into())?),
        queues: Arc::clone(&queues) as _,
        signer: Arc::new(resources.signer(&clients)?),
        events: Arc::new(resources.events(&clients)?),
        clock: Arc::new(SystemClock),
        config: Arc::new(config),
        reading: ReadingMemory::default(),
        deadline: Deadline::never(),
    };
    Ok(World { ports, queues, prefix: resources.uploads_prefix.unwrap_or_default() })
}
