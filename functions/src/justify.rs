//! Stands for the real one.
use tufline_store::VersionId;
use tufline_tuf::{Content, TargetName};

use crate::current::{Current, current_and_receipt};
use crate::ports::{Ports, Result};

pub enum Justified {
    Yes,
    NotNow,
    Otherwise,
}

pub(crate) async fn justify(
    ports: &Ports,
    name: &TargetName,
    version: Option<&VersionId>,
    content: Option<&Content>,
) -> Result<Justified> {
    let (current, _, receipt) = current_and_receipt(ports, name, version).await?;
    let now = match &current {
        Current::Object(accepted) => {
            let sha256 = accepted.upload.sha256.or(receipt.map(|receipt| receipt.sha256));
            sha256.map(|sha256| Content { sha256, length: accepted.upload.length, custom: accepted.custom.clone() })
        }
        Current::Gone { .. } => None,
        Current::Unknown => return Ok(Justified::NotNow),
    };
    Ok(if now.as_ref() == content { Justified::Yes } else { Justified::NotNow })
}
