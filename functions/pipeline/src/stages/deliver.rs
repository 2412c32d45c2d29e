//! Deliver: looks at other parties' files as they arrive, at `delegations/ROLE.json`.
//!
//! This stage checks only their form. Rebuild looks again, and decides whether devices may see
//! them.

use std::collections::BTreeMap;
use std::time::Duration;

use tufline_store::{Change, DELIVERIES, Event, Head, Hint, Message, Upload};
use tufline_tuf::delivery::{LARGEST_DELIVERY, check_form};
use tufline_tuf::{Rejection, RejectionCode, RoleName};

use crate::actions::reject::{reject_delivery, told};
use crate::compute::compute;
use crate::error::Result;
use crate::ports::Ports;
use crate::state::current::RejectedVersion;
use crate::state::parties::file_name;

/// Looks at every hint, and sends the resulting changes to rebuild.
///
/// # Errors
/// The first failure, after all hints were looked at: the message must come again. A file that is
/// still being written counts only if nothing else failed.
pub async fn deliver(ports: &Ports, hints: &[Hint]) -> Result<()> {
    let mut by_name: BTreeMap<&str, Vec<&Hint>> = BTreeMap::new();
    for hint in hints {
        by_name.entry(&hint.name).or_default().push(hint);
    }
    let mut outcome: Result<()> = Ok(());
    for (name, hints) in by_name {
        let looked = look(ports, name, &hints).await;
        if let Err(error) = &looked {
            tracing::debug!(name, %error, "delivery failed");
        }
        outcome = match (outcome, looked) {
            (Err(unfinished), Err(error)) if unfinished.is_unfinished() => Err(error),
            (outcome, looked) => outcome.and(looked),
        };
    }
    outcome
}

async fn look(ports: &Ports, name: &str, hints: &[&Hint]) -> Result<()> {
    // A deleted file changes nothing: only an operator ends a delegation.
    let Head::Object(upload) = ports.deliveries.head(name).await? else { return Ok(()) };
    let superseded =
        hints.iter().filter(|hint| !hint.removed).filter_map(|hint| hint.version.as_ref());
    let superseded = superseded.filter(|version| Some(*version) != upload.version.as_ref());
    let events: Vec<Event> = superseded
        .map(|version| Event::UploadSuperseded { name: told(name), version: version.clone() })
        .collect();
    match check(ports, name, &upload).await? {
        Ok(role) => {
            let message = Message::Changes(vec![Change::Delivery { role }]);
            ports.queues.send(&message, Duration::ZERO).await?;
        }
        Err(rejection) => reject_delivery(ports, &RejectedVersion { upload, rejection }).await?,
    }
    if !events.is_empty() {
        ports.events.send(&events).await?;
    }
    Ok(())
}

/// The role whose document this could be, or why it can be none.
async fn check(
    ports: &Ports,
    name: &str,
    upload: &Upload,
) -> Result<std::result::Result<RoleName, Rejection>> {
    let role = name.strip_suffix(".json").and_then(|role| role.parse::<RoleName>().ok());
    let Some(role) = role.filter(|role| file_name(role) == name) else {
        let why = format!(
            "{DELIVERIES}{name} rejected: it is not called ROLE.json after a role; rename it"
        );
        return Ok(Err(Rejection::new(RejectionCode::Delegation, why)));
    };
    if let Some(why) = &upload.unusable {
        return Ok(Err(Rejection::new(
            RejectionCode::NotAFile,
            format!("{DELIVERIES}{name}: {why}"),
        )));
    }
    let bytes = ports.deliveries.read(upload, 0, LARGEST_DELIVERY + 1).await?;
    Ok(compute(move || check_form(&role, &bytes).map(|()| role)).await)
}
