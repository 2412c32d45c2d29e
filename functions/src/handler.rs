//! A batch of a queue's messages: bodies in, failures out. What Lambda's handlers, the embedded form's workers and the
//! fault simulation share.

use tufline_store::{Change, Hint, Message, Queue};
use tufline_tuf::Time;

use crate::delivery::deliver;
use crate::hash::{Turn, hash};
use crate::message::{deliveries, hints, large, own};
use crate::ports::Ports;
use crate::publish::publish;
use crate::rebuild::rebuild;
use crate::sign::sign;

/// Runs the stage of `queue` over a batch of bodies. `prefix` is what the keys of uploads begin with in S3's events; from
/// `until` on nothing new may be begun that takes long.
///
/// Answers, for each body, why its message must come again, if it must. Of a FIFO queue that is the first failed message
/// and all after it, as SQS demands
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>).
pub async fn handle(ports: &Ports, queue: Queue, prefix: &str, until: Time, bodies: &[&str]) -> Vec<Option<String>> {
    match queue {
        Queue::Uploads => {
            let failures = handle_hints(ports, Turn::All, bodies, |body| hints(body, prefix)).await;
            let deliveries = bodies.iter().map(|body| async move { handle_deliveries(ports, body).await });
            let deliveries = futures::future::join_all(deliveries).await;
            failures.into_iter().zip(deliveries).map(|(uploads, deliveries)| uploads.or(deliveries)).collect()
        }
        Queue::Large => handle_hints(ports, Turn::Large { until }, bodies, large).await,
        Queue::Changes => handle_changes(ports, bodies).await,
        Queue::Sign | Queue::Publish => handle_nudges(ports, queue, bodies).await,
    }
}

async fn handle_hints<E: std::fmt::Display>(
    ports: &Ports,
    turn: Turn,
    bodies: &[&str],
    hints: impl Fn(&str) -> Result<Vec<Hint>, E>,
) -> Vec<Option<String>> {
    let mut failures: Vec<Option<String>> = Vec::with_capacity(bodies.len());
    let (mut all, mut owners) = (Vec::new(), Vec::new());
    for (index, body) in bodies.iter().enumerate() {
        match hints(body) {
            Ok(hints) => {
                owners.extend(std::iter::repeat_n(index, hints.len()));
                all.extend(hints);
                failures.push(None);
            }
            Err(error) => failures.push(Some(error.to_string())),
        }
    }
    for (owner, failure) in owners.into_iter().zip(hash(ports, turn, &all).await) {
        if let (Some(slot), Some(error)) = (failures.get_mut(owner), failure) {
            *slot = Some(error.to_string());
        }
    }
    failures
}

/// Why the files of other parties that a body tells of must be looked at again.
async fn handle_deliveries(ports: &Ports, body: &str) -> Option<String> {
    let hints = deliveries(body);
    deliver(ports, &hints).await.into_iter().flatten().next().map(|error| error.to_string())
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
    let outcome = match queue {
        Queue::Sign => sign(ports).await,
        _ => publish(ports).await.map(|_| ()),
    };
    let failure = outcome.err().map(|error| {
        tracing::error!(queue = queue.name(), %error, "stage failed");
        error.to_string()
    });
    vec![failure; bodies.len()]
}
