//! Writes events to the log as well, for a person at the terminal.

use async_trait::async_trait;
use tufline_folder::FileEvents;
use tufline_store::{Event, Events, Result};
use tufline_tuf::plain::escaped;

/// How many names a log line lists; it only counts the others.
const NAMES: usize = 3;

/// Writes events to the events file, then to the log.
pub struct News(pub FileEvents);

#[async_trait]
impl Events for News {
    async fn send(&self, events: &[Event]) -> Result<()> {
        self.0.send(events).await?;
        for event in events {
            tell(event);
        }
        Ok(())
    }
}

fn tell(event: &Event) {
    match event {
        Event::TargetsPublished { generation, targets, removed } => {
            if !targets.is_empty() {
                let names = list(targets.iter().map(|target| target.name.as_str()));
                tracing::info!("generation {generation}: published {names}");
            }
            if !removed.is_empty() {
                let names = list(removed.iter().map(tufline_tuf::TargetName::as_str));
                tracing::info!("generation {generation}: removed {names}");
            }
        }
        Event::UploadRejected(rejected) => {
            tracing::warn!("rejected {}: {}", escaped(&rejected.place), escaped(&rejected.reason));
        }
        Event::UploadDelegated { name, role, .. } => {
            tracing::info!("kept {} for {role}", escaped(name));
        }
        Event::DelegationChanged { role, document: Some(version), .. } => {
            tracing::info!("published {role} version {version}");
        }
        Event::DelegationChanged { role, state, document: None, .. } => {
            tracing::warn!("delegation {role}: {}", state.as_str());
        }
        Event::UploadSuperseded { name, .. } => tracing::debug!("superseded {}", escaped(name)),
        // The stages log these as errors themselves.
        Event::GenerationRefused { .. }
        | Event::RemovalsHeld { .. }
        | Event::RootIgnored { .. } => {}
    }
}

/// The first names, and how many more there are.
fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(NAMES);
    let mut list = names.take(NAMES).collect::<Vec<_>>().join(", ");
    if more > 0 {
        list.push_str(" and ");
        list.push_str(&more.to_string());
        list.push_str(" more");
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(list(["a", "b", "c"].into_iter()), "a, b, c");
        assert_eq!(list(["a", "b", "c", "d", "e"].into_iter()), "a, b, c and 2 more");
    }
}
