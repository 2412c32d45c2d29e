//! Reconcile: sends a hint for every upload, every delete marker and every published target. So the
//! pipeline looks again at everything whose message was lost.

use std::collections::BTreeSet;
use std::time::Duration;

use tufline_store::{Change, Hint, Message};

use crate::error::Result;
use crate::ports::Ports;
use crate::state::index::readable_documents;
use crate::state::parties::read_parties;
use crate::state::pending::Tip;

/// Sends the hints, and returns how many.
///
/// A hint says "removed" for every name. Hash still removes nothing unless somebody deleted the
/// upload: a lifecycle's delete marker does not count.
pub async fn reconcile(ports: &Ports) -> Result<usize> {
    let (mut sent, mut after) = (0, None::<String>);
    let mut gone = published_names(ports).await?;
    loop {
        let page = ports.uploads.list(after.as_deref()).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        let mut hints = Vec::with_capacity(page.len());
        for name in page {
            gone.remove(&name);
            hints.push(Hint { name, removed: true, version: None });
        }
        sent += send(ports, hints).await?;
    }
    let hints = gone.into_iter().map(|name| Hint { name, removed: true, version: None });
    sent += send(ports, hints.collect()).await?;
    let tip = Tip::read(&*ports.store).await?;
    let parties = read_parties(&*ports.store, tip.newest()).await?;
    let changes =
        parties.parties.into_keys().map(|role| Change::Delivery { role }).chain([Change::Decision]);
    for message in Message::changes(changes.collect()) {
        ports.queues.send(&message, Duration::ZERO).await?;
    }
    // An operator may have made a generation whose message was lost.
    ports.queues.send(&Message::Sign, Duration::ZERO).await?;
    Ok(sent)
}

async fn send(ports: &Ports, hints: Vec<Hint>) -> Result<usize> {
    let count = hints.len();
    for message in Message::uploads(hints) {
        ports.queues.send(&message, Duration::ZERO).await?;
    }
    Ok(count)
}

/// The names of all targets in the newest generation. If a role cannot be read, its names are left
/// out, so reconcile does not look for removals among them.
///
/// # Errors
/// The ledger cannot be read.
pub async fn published_names(ports: &Ports) -> Result<BTreeSet<String>> {
    let store = &*ports.store;
    let tip = Tip::read(store).await?;
    let (documents, unread) = readable_documents(store, tip.newest()).await;
    let listed = documents.iter().flat_map(|document| document.document().targets.keys());
    let names = listed.map(|name| name.raw().to_owned()).collect();
    for (role, error) in unread {
        tracing::error!(%role, %error, "not looking for removals among this role's targets");
    }
    Ok(names)
}
