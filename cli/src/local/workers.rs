//! The stages at work on the in-process queues.
//!
//! A stage's error is logged in one line, once a minute at most, and its messages come again, later each time; nothing stops the others.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tufline_folder::{Delivery, FolderUploads, LocalQueues};
use tufline_pipeline::Ports;
use tufline_pipeline::StageError;
use tufline_pipeline::stages::Shown;
use tufline_pipeline::stages::Turn;
use tufline_pipeline::stages::deliver;
use tufline_pipeline::stages::hash;
use tufline_pipeline::stages::publish;
use tufline_pipeline::stages::rebuild;
use tufline_pipeline::stages::reconcile;
use tufline_pipeline::stages::refresh;
use tufline_pipeline::stages::sign;
use tufline_store::{Change, Hint, Message, Queue, Queues};
use tufline_tuf::Time;

use super::request;
use super::standing::Guard;
use super::troubles::Troubles;
use crate::outcome::one_line;
use crate::show;

/// So many batches are hashed at once: while one waits for the disk, another hashes.
const HASH_WORKERS: usize = 4;

/// The most uploads in a batch of hash: enough to share fsyncs, few enough that rebuild starts soon.
const HASH_BATCH: usize = 64;

/// So many large uploads are worked on at once: one that is read to the end of a run holds up no other.
const LARGE_WORKERS: usize = 2;

/// The most messages that rebuild folds into one generation.
const REBUILD_BATCH: usize = 10_000;

/// How long rebuild waits for more changes once it has one: a single upload hardly notices.
const REBUILD_WINDOW: Duration = Duration::from_millis(10);

/// How long it waits at most while the generation before is still being signed and published, or many uploads are still to be hashed,
/// so that a burst makes few generations: two in the pipeline would only slow each other down, and hash.
const LONGEST_WINDOW: Duration = Duration::from_secs(2);

/// How long a worker waits for a message before it asks again.
const LONG: Duration = Duration::from_mins(1);

/// How often requests of the command line are looked for.
const TICK: Duration = Duration::from_secs(1);

/// Every so many ticks refresh runs.
const REFRESH_TICKS: u32 = 3;

/// A stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Names, hashes and copies uploads.
    Hash,
    /// The same for large ones, in runs.
    Large,
    /// Makes the next generation.
    Rebuild,
    /// Signs it.
    Sign,
    /// Shows it.
    Publish,
}

/// What a stage did in one run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The stage.
    pub stage: Stage,
    /// How many uploads or changes it handled.
    pub items: usize,
    /// The generation that it made or showed.
    pub generation: Option<u64>,
    /// How long it took.
    pub took: Duration,
}

/// What every worker has.
#[derive(Clone)]
pub struct Worker {
    /// For the stages.
    pub ports: Ports,
    /// Where build systems drop files.
    pub uploads: FolderUploads,
    /// From where the work comes.
    pub queues: LocalQueues,
    /// True once the workers shall stop.
    pub stop: watch::Receiver<bool>,
    /// Where to tell what was done, if anyone wants to know.
    pub reports: Option<mpsc::UnboundedSender<Report>>,
    /// The data folder.
    pub data: PathBuf,
    /// What doesn't work.
    pub troubles: Troubles,
}

impl Worker {
    /// Starts all stages, and passes the hints of the watched folder on to them.
    pub fn start(&self, hints: mpsc::Receiver<Vec<Hint>>, deliveries: mpsc::Receiver<Vec<Hint>>) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        for _ in 0..HASH_WORKERS {
            workers.spawn(self.clone().hash(Stage::Hash));
        }
        for _ in 0..LARGE_WORKERS {
            workers.spawn(self.clone().hash(Stage::Large));
        }
        workers.spawn(self.clone().rebuild());
        workers.spawn(self.clone().sign());
        workers.spawn(self.clone().publish());
        workers.spawn(self.clone().refresh());
        workers.spawn(self.clone().pass_on(hints, Message::uploads));
        workers.spawn(self.clone().pass_on(deliveries, |hints| vec![Message::Deliveries(hints)]));
        workers.spawn(self.clone().reconcile());
        workers
    }

    async fn hash(mut self, stage: Stage) {
        let (queue, most, turn) = match stage {
            // Nobody stops a run here: it ends after the bytes that the configuration gives it.
            Stage::Large => (Queue::Large, 1, Turn::Large { until: Time::MAX }),
            _ => (Queue::Uploads, HASH_BATCH, Turn::All),
        };
        while let Some(deliveries) = self.next(queue, most).await {
            let hints: Vec<Hint> = deliveries.iter().filter_map(|delivery| hint(delivery.message())).collect();
            let begin = Instant::now();
            let (of_parties, deliveries): (Vec<Delivery>, Vec<Delivery>) =
                deliveries.into_iter().partition(|delivery| matches!(delivery.message(), Message::Deliveries(_)));
            let failures = hash(&self.ports, turn, &hints).await;
            let failed = self.settle(queue.name(), deliveries.into_iter().zip(failures));
            self.report(stage, hints.len() - failed, None, begin);
            for delivery in of_parties {
                let hints =
                    if let Message::Deliveries(hints) = delivery.message() { hints.clone() } else { Vec::new() };
                let failure = deliver(&self.ports, &hints).await.err();
                self.settle("deliveries", std::iter::once((delivery, failure)));
            }
        }
    }

    async fn rebuild(mut self) {
        while let Some(mut deliveries) = self.next(Queue::Changes, 1).await {
            self.gather().await;
            deliveries.extend(self.queues.receive(Queue::Changes, REBUILD_BATCH - 1, Duration::ZERO).await);
            let messages: Vec<Vec<Change>> = deliveries.iter().map(|delivery| changes(delivery.message())).collect();
            let begin = Instant::now();
            match rebuild(&self.ports, &messages).await {
                Ok(mut rebuilt) => {
                    if let Some(error) = rebuilt.unrenewed.first() {
                        self.fails("renewal", error);
                    }
                    let results = deliveries.into_iter().enumerate();
                    self.settle("rebuild", results.map(|(index, delivery)| (delivery, rebuilt.failed.remove(&index))));
                    let items = messages.iter().map(Vec::len).sum();
                    self.report(Stage::Rebuild, items, rebuilt.generation, begin);
                }
                Err(error) => self.again("rebuild", deliveries, &error),
            }
        }
    }

    /// Lets more changes arrive.
    async fn gather(&self) {
        let begin = Instant::now();
        loop {
            tokio::time::sleep(REBUILD_WINDOW).await;
            if begin.elapsed() >= LONGEST_WINDOW || !self.is_busy() {
                return;
            }
        }
    }

    fn is_busy(&self) -> bool {
        let idle = [(Queue::Sign, 0), (Queue::Publish, 0), (Queue::Uploads, HASH_BATCH as u64)];
        idle.into_iter().any(|(queue, idle)| self.queues.due(queue) > idle)
    }

    async fn sign(mut self) {
        while let Some(deliveries) = self.next(Queue::Sign, 1).await {
            let begin = Instant::now();
            match sign(&self.ports).await {
                Ok(()) => {
                    self.troubles.over("sign");
                    deliveries.into_iter().for_each(Delivery::done);
                    self.report(Stage::Sign, 1, None, begin);
                }
                Err(error) => self.again("sign", deliveries, &error),
            }
        }
    }

    async fn publish(mut self) {
        while let Some(deliveries) = self.next(Queue::Publish, 1).await {
            let begin = Instant::now();
            match publish(&self.ports).await {
                Ok(shown) => {
                    self.troubles.over("publish");
                    deliveries.into_iter().for_each(Delivery::done);
                    let generation = match shown {
                        Shown::Now(generation) => Some(generation),
                        Shown::AlreadyNewest(_) => None,
                    };
                    self.report(Stage::Publish, 1, generation, begin);
                }
                Err(error) => self.again("publish", deliveries, &error),
            }
        }
    }

    /// Refresh every few seconds, a look at which folder the uploads lie in, and reconcile whenever somebody asks for it.
    async fn refresh(mut self) {
        let mut guard = Guard::default();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in 0_u32.. {
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return,
                _ = ticks.tick() => {}
            }
            let standing = guard.look(&self.ports, &self.uploads, &self.data).await;
            self.note("uploads folder", standing.map_or_else(Some, |why| why.map(anyhow::Error::msg)));
            if request::is_there(&self.data) {
                let reconciled = reconcile(&self.ports).await.map_err(Into::into);
                let answered = reconciled.and_then(|hints| request::answer(&self.data, hints));
                self.note("reconcile", answered.err());
            }
            if tick % REFRESH_TICKS == 0 {
                self.note("refresh", refresh(&self.ports).await.err().map(Into::into));
            }
            let written = self.troubles.write();
            self.note("the file of troubles", written.err());
        }
    }

    /// Reconciles once, after the watcher has begun: whatever goes from then on is told by it. While the uploads folder is
    /// not mounted that fails, and is tried again.
    async fn reconcile(mut self) {
        let worker = self.clone();
        let reconciling = async {
            while let Err(error) = reconcile(&worker.ports).await {
                worker.note("reconcile", Some(error.into()));
                tokio::time::sleep(TICK).await;
            }
            worker.note("reconcile", None);
        };
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => {}
            () = reconciling => {}
        }
    }

    async fn pass_on(mut self, mut hints: mpsc::Receiver<Vec<Hint>>, messages: fn(Vec<Hint>) -> Vec<Message>) {
        loop {
            let hints = tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return,
                hints = hints.recv() => hints,
            };
            let Some(hints) = hints else { return };
            for message in messages(hints) {
                if let Err(error) = self.queues.send(&message, Duration::ZERO).await {
                    tracing::error!("hints not passed on: {error}");
                }
            }
        }
    }

    /// The next messages; `None` when it is time to stop.
    async fn next(&mut self, queue: Queue, limit: usize) -> Option<Vec<Delivery>> {
        loop {
            let deliveries = tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => return None,
                deliveries = self.queues.receive(queue, limit, LONG) => deliveries,
            };
            if !deliveries.is_empty() {
                return Some(deliveries);
            }
        }
    }

    /// Gives back what failed; answers how many. One line tells of all that failed before already: an upload that changes
    /// while it is read fails once, and that is no trouble.
    fn settle(&self, stage: &'static str, results: impl Iterator<Item = (Delivery, Option<StageError>)>) -> usize {
        let (mut failed, mut again, mut any_new, mut last) = (0, 0, false, None);
        for (delivery, failure) in results {
            let what = hint(delivery.message()).map_or(stage.to_owned(), |hint| format!("upload {}", hint.name));
            match failure {
                None => {
                    self.troubles.over(&what);
                    delivery.done();
                }
                Some(error) => {
                    failed += 1;
                    if delivery.failures() > 0 {
                        again += 1;
                        any_new |= self.troubles.note(&what, &error.to_string());
                        last = Some(error.to_string());
                    }
                    delivery.return_later();
                }
            }
        }
        if let Some(error) = last.filter(|_| self.troubles.is_time(stage) || any_new) {
            tracing::error!("{stage} failed again for {}, and tries once more: {error}", show::count(again, "upload"));
        }
        failed
    }

    fn again(&self, stage: &'static str, deliveries: Vec<Delivery>, error: &StageError) {
        self.fails(stage, &error.to_string());
        deliveries.into_iter().for_each(Delivery::return_later);
    }

    fn fails(&self, what: &'static str, error: &str) {
        self.troubles.note(what, error);
        if self.troubles.is_news(what, error) {
            tracing::error!("{what} failed and tries again: {error}");
        }
    }

    /// What became of something that is tried every few seconds.
    fn note(&self, what: &'static str, error: Option<anyhow::Error>) {
        let Some(error) = error.map(|error| one_line(&error)) else {
            if self.troubles.over(what) {
                tracing::info!("{what} works again");
            }
            return;
        };
        self.fails(what, &error);
    }

    fn report(&self, stage: Stage, items: usize, generation: Option<u64>, begin: Instant) {
        let took = begin.elapsed();
        tracing::debug!(?stage, items, generation, ?took, "stage");
        if let Some(reports) = &self.reports {
            // Nobody may be listening any more.
            let _ = reports.send(Report { stage, items, generation, took });
        }
    }
}

fn hint(message: &Message) -> Option<Hint> {
    match message {
        Message::Uploads(hints) => hints.first().cloned(),
        Message::Large(hint) => Some(hint.clone()),
        _ => None,
    }
}

fn changes(message: &Message) -> Vec<Change> {
    match message {
        Message::Changes(changes) => changes.clone(),
        _ => Vec::new(),
    }
}
