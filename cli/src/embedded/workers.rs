//! The stages at work on the in-process queues.
//!
//! A stage's error is logged in one line, once a minute at most, and its messages come again, later each time; nothing stops the others.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tufline_folder::{Delivery, FolderUploads, LocalQueues};
use tufline_pipeline::Ports;
use tufline_pipeline::dispatch::{Dispatched, Failure, dispatch};
use tufline_pipeline::stages::{reconcile, refresh};
use tufline_store::{ErrorKind, Hint, Message, Queue, Queues};
use tufline_tuf::Time;

use super::cutting::Cutting;
use super::troubles::Troubles;
use super::uploads_guard::UploadsGuard;
use crate::failure::{kind, one_line};
use crate::repository::{Request, request};
use crate::text;

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

/// The nice value of what has time.
#[cfg(target_os = "linux")]
const LOWEST: i32 = 19;

/// What a stage did in one run.
#[derive(Debug, Clone)]
pub struct StageRun {
    /// The stage's queue.
    pub queue: Queue,
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
    pub reports: Option<mpsc::UnboundedSender<StageRun>>,
    /// The data folder.
    pub data: PathBuf,
    /// What doesn't work.
    pub troubles: Troubles,
    /// What cuts targets, if it was chosen.
    pub cutting: Option<Arc<Cutting>>,
}

impl Worker {
    /// Starts all stages, and passes the hints of the watched folder on to them.
    pub fn start(&self, hints: mpsc::Receiver<Vec<Hint>>, deliveries: mpsc::Receiver<Vec<Hint>>) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        for (queue, count) in [
            (Queue::Uploads, HASH_WORKERS),
            (Queue::Large, LARGE_WORKERS),
            (Queue::Changes, 1),
            (Queue::Sign, 1),
            (Queue::Publish, 1),
        ] {
            for _ in 0..count {
                workers.spawn(self.clone().work(queue));
            }
        }
        workers.spawn(self.clone().refresh());
        workers.spawn(self.clone().pass_on(hints, Message::uploads));
        workers.spawn(self.clone().pass_on(deliveries, |hints| vec![Message::Deliveries(hints)]));
        workers.spawn(self.clone().reconcile());
        if let Some(cutting) = &self.cutting {
            let (worker, cutting) = (self.clone(), Arc::clone(cutting));
            workers.spawn_blocking(move || beneath_others(worker.cut(cutting)));
        }
        workers
    }

    /// The stage of `queue`, until it is time to stop. Nobody ends its runs, which end by themselves.
    async fn work(mut self, queue: Queue) {
        let most = if queue == Queue::Uploads { HASH_BATCH } else { 1 };
        while let Some(mut deliveries) = self.next(queue, most).await {
            if queue == Queue::Changes {
                self.gather().await;
                deliveries.extend(self.queues.receive(queue, REBUILD_BATCH - 1, Duration::ZERO).await);
            }
            let begin = Instant::now();
            let messages: Vec<Message> = deliveries.iter().map(|delivery| delivery.message().clone()).collect();
            let Dispatched { failures, generation, unrenewed } =
                dispatch(&self.ports, queue, Time::MAX, &messages).await;
            if let Some(error) = unrenewed.first() {
                self.fails("renewal", &error.to_string(), Some(error.kind()));
            }
            let failed = self.give_back(queue, deliveries.into_iter().zip(failures).collect());
            let items = messages.iter().map(count_items).sum::<usize>();
            self.send_report(StageRun {
                queue,
                items: items.saturating_sub(failed),
                generation,
                took: begin.elapsed(),
            });
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

    /// Refresh every few seconds, a look at which folder the uploads lie in, and reconcile whenever somebody asks for it.
    async fn refresh(mut self) {
        let mut guard = UploadsGuard::default();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in 0_u32.. {
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return,
                _ = ticks.tick() => {}
            }
            let standing = guard.look(&self.ports, &self.uploads, &self.data).await;
            self.note("uploads folder", standing.map_or_else(Some, |why| why.map(anyhow::Error::msg)));
            if request::is_there(&self.data, Request::Reconcile) {
                let reconciled = reconcile(&self.ports).await.map_err(Into::into);
                let answered = reconciled.and_then(|hints| request::answer(&self.data, Request::Reconcile, hints));
                self.note("reconcile", answered.err());
            }
            if let Some(cutting) = self.cutting.as_ref().filter(|_| request::is_there(&self.data, Request::Chunk)) {
                let asked = cutting.ask_for_all(&*self.ports.store).await;
                let answered = asked.and_then(|blobs| request::answer(&self.data, Request::Chunk, blobs));
                self.note("asking for chunks", answered.err());
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

    /// Cuts blobs, one after another: first those that have no chunks yet. What fails is told, and comes again after the others if that may help.
    async fn cut(mut self, cutting: Arc<Cutting>) {
        let worker = self.clone();
        let working = async {
            while let Err(error) = cutting.ask_for_all(&*worker.ports.store).await {
                worker.note("asking for chunks", Some(error));
                tokio::time::sleep(TICK).await;
            }
            loop {
                let blob = cutting.next().await;
                let Err(error) = cutting.cut(blob).await else {
                    worker.note("cutting targets", None);
                    continue;
                };
                if error.kind.may_pass() {
                    cutting.ask(blob);
                }
                worker.note("cutting targets", Some(error.into()));
                tokio::time::sleep(TICK).await;
            }
        };
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => {}
            () = working => {}
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

    /// Gives back what failed; answers how many. One line tells of all that failed before already, or is denied. What is still being written only waits,
    /// however long that takes. Where all of a batch failed for one reason, it is the stage that failed.
    fn give_back(&self, queue: Queue, results: Vec<(Delivery, Option<Failure>)>) -> usize {
        let stage = stage_name(queue);
        if let Some(error) = failure_of_all(queue, &results) {
            self.fails(stage, &error.to_string(), Some(error.kind()));
            let failed = results.len();
            for (delivery, _) in results {
                delivery.return_later();
            }
            return failed;
        }
        let (mut failed, mut told, mut any_new, mut last) = (0, 0, false, None);
        for (delivery, failure) in results {
            let what = name_work(stage, delivery.message());
            match failure {
                None => {
                    self.troubles.over(&what);
                    delivery.done();
                }
                Some(error) if error.is_unfinished() => {
                    failed += 1;
                    self.troubles.over(&what);
                    delivery.return_later();
                }
                Some(error) => {
                    failed += 1;
                    if is_told(error.kind(), delivery.failures()) {
                        told += 1;
                        any_new |= self.troubles.note(&what, &error.to_string(), Some(error.kind()));
                        last = Some(error.to_string());
                    }
                    delivery.return_later();
                }
            }
        }
        if let Some(error) = last.filter(|_| self.troubles.is_time(stage) || any_new) {
            tracing::error!("{stage} failed for {}, and tries once more: {error}", text::count(told, "upload"));
        }
        failed
    }

    fn fails(&self, what: &'static str, error: &str, kind: Option<ErrorKind>) {
        self.troubles.note(what, error, kind);
        if self.troubles.is_news(what, error) {
            tracing::error!("{what} failed and tries again: {error}");
        }
    }

    /// What became of something that is tried every few seconds.
    fn note(&self, what: &'static str, error: Option<anyhow::Error>) {
        let Some(error) = error else {
            if self.troubles.over(what) {
                tracing::info!("{what} works again");
            }
            return;
        };
        self.fails(what, &one_line(&error), kind(&*error));
    }

    fn send_report(&self, report: StageRun) {
        let StageRun { queue, items, generation, took } = &report;
        tracing::debug!(stage = stage_name(*queue), items, generation, ?took, "stage");
        if let Some(reports) = &self.reports {
            // Nobody may be listening any more.
            let _ = reports.send(report);
        }
    }
}

/// Runs what everything else goes before, on this thread and on others that it begins: Linux gives each thread a nice value of its own, which
/// those that it begins have too (<https://man7.org/linux/man-pages/man7/sched.7.html>, "The nice value").
fn beneath_others(work: impl Future<Output = ()>) {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(LOWEST);
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => tracing::error!("targets are not cut: {error}"),
    }
}

/// Whether it is told that a message failed, which failed so often before: mostly it works a moment later, but not if it is denied.
fn is_told(kind: ErrorKind, before: u32) -> bool {
    before > 0 || kind == ErrorKind::Denied
}

/// The stage of a queue, as people know it.
fn stage_name(queue: Queue) -> &'static str {
    match queue {
        Queue::Uploads => "hash",
        Queue::Large => "large",
        Queue::Changes => "rebuild",
        Queue::Sign => "sign",
        Queue::Publish => "publish",
    }
}

/// What works or doesn't, of a message.
fn name_work(stage: &'static str, message: &Message) -> String {
    match message {
        Message::Uploads(hints) => hints.first().map_or(stage.to_owned(), |hint| format!("upload {}", hint.name)),
        Message::Large(hint) => format!("upload {}", hint.name),
        Message::Deliveries(_) => "deliveries".to_owned(),
        Message::Changes(_) | Message::Sign | Message::Publish => stage.to_owned(),
    }
}

/// Why none of the messages was handled, where that has one reason. Of uploads it is each one's own.
fn failure_of_all(queue: Queue, results: &[(Delivery, Option<Failure>)]) -> Option<&Failure> {
    if matches!(queue, Queue::Uploads | Queue::Large) {
        return None;
    }
    let (_, first) = results.first()?;
    let first = first.as_ref().filter(|error| !error.is_unfinished())?;
    let is_first =
        |(_, failure): &(Delivery, Option<Failure>)| failure.as_ref().is_some_and(|error| Arc::ptr_eq(error, first));
    results.iter().all(is_first).then_some(first)
}

/// How many uploads or changes a message is about.
fn count_items(message: &Message) -> usize {
    if let Message::Changes(changes) = message { changes.len() } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_is_told_at_once_and_what_may_pass_the_second_time() {
        for (kind, before, told) in [
            (ErrorKind::Retry, 0, false),
            (ErrorKind::Retry, 1, true),
            (ErrorKind::Conflict, 0, false),
            (ErrorKind::Denied, 0, true),
            (ErrorKind::Denied, 1, true),
        ] {
            assert_eq!(is_told(kind, before), told, "{kind} after {before}");
        }
    }
}
