//! A batch of a queue's messages: bodies in, failures out. What Lambda's handlers, the embedded form's workers and the
//! fault simulation share.

use futures::future::join_all;
use std::time::Duration;
use tufline_store::{Change, Hint, Message, Queue};
use tufline_tuf::Time;

use crate::error::StageError;
use crate::messages::{Hints, hints, large, own};
use crate::ports::Ports;
use crate::stages::{Turn, deliver, hash, publish, rebuild, sign};

/// Runs the stage of `queue` over a batch of bodies. `prefix` is what the keys of uploads begin with in S3's events; from
/// `until` on nothing new may be begun that takes long.
///
/// Answers, for each body, why its message must come again, if it must. Of a FIFO queue that is the first failed message
/// and all after it, as SQS demands
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>).
pub async fn handle(ports: &Ports, queue: Queue, prefix: &str, until: Time, bodies: &[&str]) -> Vec<Option<String>> {
    match queue {
        Queue::Uploads => handle_uploads(ports, prefix, bodies).await,
        Queue::Large => {
            let hints = bodies.iter().map(|body| large(body).map_err(|error| error.to_string()));
            handle_hints(ports, Turn::Large { until }, hints.collect()).await
        }
        Queue::Changes => handle_changes(ports, bodies).await,
        Queue::Sign | Queue::Publish => {
            let ports = Ports { deadline: ports.deadline.at(until), ..ports.clone() };
            handle_nudges(&ports, queue, bodies).await
        }
    }
}

async fn handle_uploads(ports: &Ports, prefix: &str, bodies: &[&str]) -> Vec<Option<String>> {
    let parsed = bodies.iter().map(|body| match hints(body, prefix) {
        Ok(Hints { uploads, deliveries }) => (Ok(uploads), deliveries),
        Err(error) => (Err(error.to_string()), Vec::new()),
    });
    let (uploads, deliveries): (Vec<_>, Vec<_>) = parsed.unzip();
    let hashed = handle_hints(ports, Turn::All, uploads).await;
    let delivered = join_all(deliveries.iter().map(|hints| deliver(ports, hints))).await;
    let failures = delivered.into_iter().map(|delivered| delivered.err().map(|error| error.to_string()));
    hashed.into_iter().zip(failures).map(|(hashed, delivered)| hashed.or(delivered)).collect()
}

/// The hints of each body, or why it can't be read.
async fn handle_hints(ports: &Ports, turn: Turn, hints: Vec<Result<Vec<Hint>, String>>) -> Vec<Option<String>> {
    let mut failures: Vec<Option<String>> = Vec::with_capacity(hints.len());
    let (mut all, mut owners) = (Vec::new(), Vec::new());
    for (index, hints) in hints.into_iter().enumerate() {
        match hints {
            Ok(hints) => {
                owners.extend(std::iter::repeat_n(index, hints.len()));
                all.extend(hints);
                failures.push(None);
            }
            Err(error) => failures.push(Some(error)),
        }
    }
    for (owner, failure) in owners.into_iter().zip(hash(ports, turn, &all).await) {
        if let (Some(slot), Some(error)) = (failures.get_mut(owner), failure) {
            *slot = Some(error.to_string());
        }
    }
    failures
}

async fn handle_changes(ports: &Ports, bodies: &[&str]) -> Vec<Option<String>> {
    let mut failures: Vec<Option<String>> = Vec::with_capacity(bodies.len());
    let (mut batches, mut owners): (Vec<Vec<Change>>, Vec<usize>) = (Vec::new(), Vec::new());
    for (index, body) in bodies.iter().enumerate() {
        match own(Queue::Changes, body) {
            Ok(Message::Changes(changes)) => {
                batches.push(changes);
                owners.push(index);
                failures.push(None);
            }
            Ok(_) => failures.push(Some("not a message of changes".into())),
            Err(error) => failures.push(Some(error.to_string())),
        }
    }
    if batches.is_empty() {
        return failures;
    }
    match rebuild(ports, &batches).await {
        Ok(rebuilt) => {
            for error in rebuilt.unrenewed {
                tracing::error!(error, "role not renewed");
            }
            for (index, error) in rebuilt.failed {
                if let Some(slot) = owners.get(index).and_then(|owner| failures.get_mut(*owner)) {
                    *slot = Some(error.to_string());
                }
            }
        }
        Err(error) => {
            tracing::error!(%error, "rebuild failed");
            for owner in owners {
                if let Some(slot) = failures.get_mut(owner) {
                    *slot = Some(error.to_string());
                }
            }
        }
    }
    failures
}

/// Any number of nudges ask for one run. One that cannot be read asks for nothing and is told from the others: what is
/// unreadable must not hold a FIFO queue, so it is dropped with a warning and never reported.
async fn handle_nudges(ports: &Ports, queue: Queue, bodies: &[&str]) -> Vec<Option<String>> {
    for body in bodies {
        if let Err(error) = own(queue, body) {
            tracing::warn!(queue = queue.name(), %error, "message dropped");
        }
    }
    let (outcome, again) = match queue {
        Queue::Sign => (sign(ports).await, Message::Sign),
        _ => (publish(ports).await.map(|_| ()), Message::Publish),
    };
    let outcome = match outcome {
        // It went on, so that these calls come to an end; a run that didn't is one that failed.
        Err(error @ StageError::OutOfTime { looked: 1.., .. }) => {
            tracing::info!(queue = queue.name(), "{error}");
            ports.queues.send(&again, Duration::ZERO).await.map_err(StageError::from)
        }
        outcome => outcome,
    };
    let failure = outcome.err().map(|error| {
        tracing::error!(queue = queue.name(), %error, "stage failed");
        error.to_string()
    });
    vec![failure; bodies.len()]
}
