//! Reconcile: sends a hint for every upload, every delete marker and every published target, so that whatever was lost is
//! looked at again.

use std::collections::BTreeSet;
use std::time::Duration;

use tufline_store::{Change, Hint, Message};

use crate::concurrency::at_once;
use crate::error::Result;
use crate::ports::Ports;
use crate::state::index::{read_draft, readable_below};
use crate::state::parties::read_parties;
use crate::state::pending::Tip;

/// Sends the hints; answers how many.
///
/// A name that is gone counts as removed, if hash finds that somebody removed it: a lifecycle's delete marker removes nothing.
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
    let changes = parties.parties.into_keys().map(|role| Change::Delivery { role }).chain([Change::Decision]);
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

/// What the folder of uploads that is there now lacks of what is published, where another was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lacking {
    /// So many of the published targets have no upload in it.
    pub names: usize,
    /// Of so many.
    pub targets: usize,
}

impl Lacking {
    /// Compares what is `published` with what is `there`.
    #[must_use]
    pub fn of(published: &BTreeSet<String>, there: impl Fn(&str) -> bool) -> Self {
        Self { names: published.iter().filter(|name| !there(name)).count(), targets: published.len() }
    }

    /// Whether that looks like an unmounted disk or a wrong folder: it lacks more than half of what is published.
    ///
    /// *Invariant*: one that has nothing of what is published is never taken for the uploads, however little that is, and whatever number of removals
    /// is configured to be held.
    #[must_use]
    pub fn is_loss(self) -> bool {
        self.names * 2 > self.targets
    }
}

/// The names of all targets in the newest generation. Those of a role that can't be read are not known: whether they are gone is not
/// looked at then, and all else is.
/// # Errors
/// The ledger can't be read.
pub async fn published_names(ports: &Ports) -> Result<BTreeSet<String>> {
    let store = &*ports.store;
    let tip = Tip::read(store).await?;
    let (index, mut unread) = readable_below(store, tip.newest(), |_| true).await;
    let reads = index.entries().map(|(role, entry)| async move {
        let document = read_draft(store, &role, &entry.document).await;
        (role, document)
    });
    let mut names = BTreeSet::new();
    for (role, document) in at_once(reads).await {
        match document {
            Ok(document) => names.extend(document.document().targets.keys().map(|name| name.raw().to_owned())),
            Err(error) => _ = unread.insert(role, error.into()),
        }
    }
    for (role, error) in unread {
        tracing::error!(%role, %error, "removals of this role's targets are not looked for");
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with at least half of what is published is the uploads'; one with nothing of it never is.
    #[test]
    fn a_folder_is_known_by_what_is_in_it() {
        for (targets, lacks) in (0..40).flat_map(|targets| (0..=targets).map(move |lacks| (targets, lacks))) {
            let published: BTreeSet<String> = (0..targets).map(|number| number.to_string()).collect();
            let lacking = Lacking::of(&published, |name| name.parse::<usize>().is_ok_and(|number| number >= lacks));
            assert_eq!(lacking, Lacking { names: lacks, targets });
            assert_eq!(lacking.is_loss(), targets - lacks < lacks);
            assert!(targets == 0 || lacks < targets || lacking.is_loss());
        }
    }
}
