//! The workers, which run the stages on the in-process queues.
//!
//! If a stage fails, it logs one line, once a minute at most, and its messages return after a
//! growing pause. One stage's failure never stops the others.

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

/// How many batches are hashed at once: while one waits for the disk, another hashes.
const HASH_WORKERS: usize = 4;

/// The most uploads in a batch of hash: enough to share fsyncs, few enough that rebuild starts
/// soon.
const HASH_BATCH: usize = 64;

/// How many large uploads are processed at once, so that one long run doesn't hold up the others.
const LARGE_WORKERS: usize = 2;

/// The most messages that rebuild folds into one generation.
const REBUILD_BATCH: usize = 10_000;

/// How long rebuild waits for more changes once it has one: a single upload hardly notices.
const REBUILD_WINDOW: Duration = Duration::from_millis(10);

/// How long rebuild waits at most while the previous generation is still being signed and
/// published, or many uploads still wait for hash. So a burst makes few generations: two at once
/// would only slow down each other, and hash.
const LONGEST_WINDOW: Duration = Duration::from_secs(2);

/// How long a worker waits for a message before it asks again.
const LONG: Duration = Duration::from_mins(1);

/// The pause between two checks for requests of the command line.
const TICK: Duration = Duration::from_secs(1);

/// Refresh runs once in this many ticks.
const REFRESH_TICKS: u32 = 3;

/// The nice value of work that can wait: on a busy machine it gets a tenth of a processor, and not
/// nothing.
#[cfg(target_os = "linux")]
const LATER: i32 = 10;

/// What a stage did in one run.
#[derive(Debug, Clone)]
pub struct StageRun {
    pub queue: Queue,
    /// How many uploads or changes it handled.
    pub items: usize,
    /// The generation that it made or showed.
    pub generation: Option<u64>,
    /// How long it took.
    pub took: Duration,
}

/// What every worker needs.
#[derive(Clone)]
pub struct Worker {
    pub ports: Ports,
    /// The folder in which build systems drop files.
    pub uploads: FolderUploads,
    /// The queues with the work.
    pub queues: LocalQueues,
    /// True once the workers must stop.
    pub stop: watch::Receiver<bool>,
    /// Receives what each stage did, if somebody listens.
    pub reports: Option<mpsc::UnboundedSender<StageRun>>,
    pub data: PathBuf,
    pub troubles: Troubles,
    /// Cuts targets into chunks, if the configuration says so.
    pub cutting: Option<Arc<Cutting>>,
}

impl Worker {
    /// Starts all stages, and passes the hints of the watched folders on to them.
    pub fn start(
        &self,
        hints: mpsc::Receiver<Vec<Hint>>,
        deliveries: mpsc::Receiver<Vec<Hint>>,
    ) -> JoinSet<()> {
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

    /// Runs the stage of `queue` until the process stops. It never interrupts a run, which has no
    /// deadline here.
    async fn work(mut self, queue: Queue) {
        let most = if queue == Queue::Uploads { HASH_BATCH } else { 1 };
        while let Some(mut deliveries) = self.next(queue, most).await {
            if queue == Queue::Changes {
                self.gather().await;
                deliveries
                    .extend(self.queues.receive(queue, REBUILD_BATCH - 1, Duration::ZERO).await);
            }
            let begin = Instant::now();
            let messages: Vec<Message> =
                deliveries.iter().map(|delivery| delivery.message().clone()).collect();
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

    /// Waits for more changes to arrive.
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

    /// Every second: checks the uploads folder, and reconciles if the command line asks for it.
    /// Every few seconds: runs refresh.
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
            self.note(
                "uploads folder",
                standing.map_or_else(Some, |why| why.map(anyhow::Error::msg)),
            );
            if request::is_there(&self.data, Request::Reconcile) {
                let reconciled = reconcile(&self.ports).await.map_err(Into::into);
                let answered = reconciled
                    .and_then(|hints| request::answer(&self.data, Request::Reconcile, hints));
                self.note("reconcile", answered.err());
            }
            if let Some(cutting) =
                self.cutting.as_ref().filter(|_| request::is_there(&self.data, Request::Chunk))
            {
                let asked = cutting.ask_for_all(&*self.ports.store).await;
                let answered =
                    asked.and_then(|blobs| request::answer(&self.data, Request::Chunk, blobs));
                self.note("asking for chunks", answered.err());
            }
            if tick % REFRESH_TICKS == 0 {
                self.note("refresh", refresh(&self.ports).await.err().map(Into::into));
            }
            let written = self.troubles.write();
            self.note("the file of troubles", written.err());
        }
    }

    /// Reconciles once, after the watcher has started: from then on the watcher reports every
    /// change. This fails and is retried while the uploads folder is not mounted.
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

    /// Cuts blobs, one after another: at the start those that have no chunks yet. It notes a
    /// failure, and retries that blob after the others if a retry may help.
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

    async fn pass_on(
        mut self,
        mut hints: mpsc::Receiver<Vec<Hint>>,
        messages: fn(Vec<Hint>) -> Vec<Message>,
    ) {
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

    /// The next messages; `None` when the process stops.
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

    /// Returns the failed messages to the queue; returns how many there are. It logs one line about
    /// those that failed before or were denied. An upload that is still being written is no
    /// failure: it only waits. If the whole batch failed for one reason, the stage itself failed.
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
                        any_new |=
                            self.troubles.note(&what, &error.to_string(), Some(error.kind()));
                        last = Some(error.to_string());
                    }
                    delivery.return_later();
                }
            }
        }
        if let Some(error) = last.filter(|_| self.troubles.is_time(stage) || any_new) {
            tracing::error!(
                "{stage} failed for {}, and tries again: {error}",
                text::count(told, "upload")
            );
        }
        failed
    }

    fn fails(&self, what: &'static str, error: &str, kind: Option<ErrorKind>) {
        self.troubles.note(what, error, kind);
        if self.troubles.is_news(what, error) {
            tracing::error!("{what} failed and tries again: {error}");
        }
    }

    /// Notes the result of something that is tried every few seconds, and logs when it works again.
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
            // The receiver may be gone.
            let _ = reports.send(report);
        }
    }
}

/// Runs work of the lowest priority, on this thread and on others that it starts. On Linux each
/// thread has a nice value of its own, which the threads that it starts inherit
/// (<https://man7.org/linux/man-pages/man7/sched.7.html>, "The nice value").
fn beneath_others(work: impl Future<Output = ()>) {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(LATER);
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => tracing::error!("targets are not cut: {error}"),
    }
}

/// Whether a message's failure is reported, after `before` earlier failures: most pass a moment
/// later, but a denied one doesn't.
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

/// The name of a message's work, under which its failures are noted.
fn name_work(stage: &'static str, message: &Message) -> String {
    match message {
        Message::Uploads(hints) => {
            hints.first().map_or(stage.to_owned(), |hint| format!("upload {}", hint.name))
        }
        Message::Large(hint) => format!("upload {}", hint.name),
        Message::Deliveries(_) => "deliveries".to_owned(),
        Message::Changes(_) | Message::Sign | Message::Publish => stage.to_owned(),
    }
}

/// The one reason for which all messages failed, if there is one. Uploads fail each for their own
/// reason.
fn failure_of_all(queue: Queue, results: &[(Delivery, Option<Failure>)]) -> Option<&Failure> {
    if matches!(queue, Queue::Uploads | Queue::Large) {
        return None;
    }
    let (_, first) = results.first()?;
    let first = first.as_ref().filter(|error| !error.is_unfinished())?;
    let is_first = |(_, failure): &(Delivery, Option<Failure>)| {
        failure.as_ref().is_some_and(|error| Arc::ptr_eq(error, first))
    };
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
    fn a_denied_message_is_reported_at_once_and_another_at_its_second_failure() {
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
