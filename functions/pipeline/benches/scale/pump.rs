//! Hands the queues' messages to the stages as AWS does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tufline_pipeline::Ports;
use tufline_pipeline::dispatch::handle;
use tufline_pipeline::stages::refresh;
use tufline_store::memory::QueuedMessage;
use tufline_store::{CachedStore, Queue};
use tufline_tuf::Time;

use crate::measure::cpu_seconds;
use crate::metered::{Delays, Meter, Metered};
use crate::world::{PREFIX, World};

/// How many bytes of messages one invocation takes. Lambda's limit is 6 MB, which includes its own
/// fields about each message; one message may add up to 200 kB.
const INVOCATION: usize = 5_700_000;

/// How many bytes of the ledger a warm function keeps, as in
/// `functions/lambda/src/bin/pipeline.rs`.
const MOST_KEPT: u64 = 32 * 1024 * 1024;

/// After how many receives a message counts as hopeless.
const MOST_RECEIVES: u32 = 20;

/// How many messages SQS delivers, or deletes, at once.
const SQS_BATCH: usize = 10;

/// After how long delayed messages are looked at again.
const TICK: Duration = Duration::from_millis(50);

/// What the queues delivered.
pub struct Course {
    /// How many generations were published, by the published generation's number before and after.
    pub generations: u64,
    /// Invocations, by queue.
    pub batches: BTreeMap<&'static str, u64>,
    /// Messages that a stage gave back.
    pub came_again: u64,
    /// The CPU seconds of each invocation, by queue, if invocations run one after another.
    pub invocations: Option<BTreeMap<&'static str, Vec<f64>>>,
}

/// The event source mappings of one deployment.
pub struct Pump<'a> {
    world: &'a World,
    /// Each stage has its own ports, since stages share no memory.
    ports: BTreeMap<Queue, Ports>,
    meter: Arc<Meter>,
    window: Duration,
    one_by_one: bool,
}

type Done = (Queue, Vec<QueuedMessage>, Vec<Option<String>>);

impl<'a> Pump<'a> {
    /// Runs one invocation after another, so that CPU time can be measured for each stage.
    pub fn one_by_one(self) -> Self {
        Self { one_by_one: true, ..self }
    }

    pub fn new(world: &'a World, delays: Delays, window: Duration) -> Self {
        let meter = Arc::new(Meter::new(delays));
        let metered = Arc::new(Metered::new(world.memory(), Arc::clone(&meter)));
        let ports = Queue::ALL.map(|queue| {
            let ports = Ports {
                store: Arc::new(CachedStore::new(Arc::clone(&metered) as _, MOST_KEPT)),
                uploads: Arc::clone(&metered) as _,
                blobs: Arc::clone(&metered) as _,
                queues: Arc::clone(&metered) as _,
                signer: Arc::clone(&metered) as _,
                events: Arc::clone(&metered) as _,
                ..world.ports()
            };
            (queue, ports)
        });
        let ports = BTreeMap::from(ports);
        Self { world, ports, meter, window, one_by_one: false }
    }

    /// Adds another key of the bins, and has refresh ask for the bins that it must sign.
    pub async fn change_bins_key(&self) {
        self.meter
            .bins_key
            .set(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
            .unwrap();
        self.refresh().await;
    }

    /// Runs refresh, as every minute on AWS.
    pub async fn refresh(&self) {
        refresh(&self.ports[&Queue::Publish]).await.unwrap();
    }

    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Delivers messages until none are left and no stage is running.
    pub async fn run(&self) -> Course {
        let began = Instant::now();
        let generation = self.world.generation();
        let invocations = self.one_by_one.then(BTreeMap::new);
        let mut course =
            Course { generations: 0, batches: BTreeMap::new(), came_again: 0, invocations };
        let mut at_work: BTreeMap<Queue, usize> = BTreeMap::new();
        let mut since: BTreeMap<Queue, Instant> = BTreeMap::new();
        let mut tasks: JoinSet<Done> = JoinSet::new();
        loop {
            self.world.set_time();
            let mut look_again = None;
            for queue in Queue::ALL {
                while self.world.memory().queued(queue) > 0 {
                    let busy = at_work.entry(queue).or_default();
                    if *busy >= most_at_once(queue, began.elapsed()) {
                        break;
                    }
                    if let Some(wait) = self.wait(queue, &mut since) {
                        look_again =
                            Some(look_again.map_or(wait, |other: Instant| other.min(wait)));
                        break;
                    }
                    let messages = self.take(queue);
                    *busy += 1;
                    *course.batches.entry(queue.name()).or_default() += 1;
                    let invoked = invoke(
                        self.ports[&queue].clone(),
                        Arc::clone(&self.meter),
                        queue,
                        messages,
                    );
                    if let Some(taken) = &mut course.invocations {
                        let before = cpu_seconds();
                        let done = invoked.await;
                        taken.entry(queue.name()).or_default().push(cpu_seconds() - before);
                        course.came_again += self.end(done, &mut at_work);
                        continue;
                    }
                    tasks.spawn(invoked);
                }
            }
            if tasks.is_empty() && look_again.is_none() {
                course.generations = self.world.generation() - generation;
                return course;
            }
            tokio::select! {
                Some(done) = tasks.join_next() => {
                    course.came_again += self.end(done.expect("a stage panicked"), &mut at_work);
                }
                () = self.meter.arrived.notified() => {}
                () = sleep_until(look_again.unwrap_or(began)), if look_again.is_some() => {}
            }
        }
    }

    /// Puts failed messages back. Returns how many.
    fn end(&self, (queue, messages, failures): Done, at_work: &mut BTreeMap<Queue, usize>) -> u64 {
        at_work.entry(queue).and_modify(|busy| *busy -= 1);
        let mut came_again = 0;
        for (message, failure) in messages.into_iter().zip(failures) {
            let Some(failure) = failure else { continue };
            assert!(message.receives < MOST_RECEIVES, "{}: {failure}", queue.name());
            came_again += 1;
            self.world.memory().put_back(queue, message, u32::MAX);
        }
        came_again
    }

    /// Until when the messages of a queue wait for others; `None` if they go at once.
    fn wait(&self, queue: Queue, since: &mut BTreeMap<Queue, Instant>) -> Option<Instant> {
        let now = Instant::now();
        if self.world.memory().first_due(queue).is_none() {
            return Some(now + TICK);
        }
        let window = if queue.is_fifo() { Duration::ZERO } else { self.window };
        let until = *since.entry(queue).or_insert(now) + window;
        if until > now && self.world.memory().queued(queue) < batch_size(queue) {
            return Some(until);
        }
        since.remove(&queue);
        None
    }

    fn take(&self, queue: Queue) -> Vec<QueuedMessage> {
        let memory = self.world.memory();
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while messages.len() < batch_size(queue) && bytes < INVOCATION {
            let Some(message) = memory.first_due(queue).and_then(|index| memory.take(queue, index))
            else {
                break;
            };
            bytes += message.body.len();
            messages.push(message);
        }
        messages
    }
}

async fn invoke(
    ports: Ports,
    meter: Arc<Meter>,
    queue: Queue,
    messages: Vec<QueuedMessage>,
) -> Done {
    let asks = messages.len().div_ceil(SQS_BATCH);
    meter.request("SQS receive", asks).await;
    let bodies: Vec<&str> = messages.iter().map(|message| message.body.as_str()).collect();
    let failures = handle(&ports, queue, PREFIX, Time::MAX, &bodies).await;
    meter.request("SQS delete", asks).await;
    (queue, messages, failures)
}

/// The batch size of a queue, as in `cdk/lib/functions.ts`.
fn batch_size(queue: Queue) -> usize {
    match queue {
        Queue::Uploads => 100,
        Queue::Large => 1,
        Queue::Changes => 10_000,
        Queue::Sign | Queue::Publish => 10,
    }
}

/// How many batches of a queue are handled at once, at this time after the first message. Lambda
/// starts with five, adds 300 per minute
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>), and stops at the
/// limit in `cdk/lib/functions.ts`.
fn most_at_once(queue: Queue, elapsed: Duration) -> usize {
    match queue {
        Queue::Uploads => usize::try_from(5 + elapsed.as_secs() * 5).unwrap_or(usize::MAX).min(50),
        Queue::Large => 10,
        Queue::Changes => 2,
        Queue::Sign | Queue::Publish => 1,
    }
}
