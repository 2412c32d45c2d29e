//! Prints what became of an upload.

use serde_json::json;

use super::decide::UploadEnding;
use crate::exit::Exit;
use crate::terminal::{self, complain, say};
use crate::text;

/// Prints what became of `name`; returns the exit code for it.
pub fn tell_ending(name: &str, ending: &UploadEnding, as_json: bool) -> Exit {
    let exit = match ending {
        UploadEnding::Published { .. } | UploadEnding::Gone { .. } => Exit::Done,
        UploadEnding::Rejected { .. } => Exit::Rejected,
        UploadEnding::Superseded { .. } => Exit::Superseded,
        UploadEnding::TimedOut { .. } => Exit::TimedOut,
        UploadEnding::Denied { .. } => Exit::Failed,
    };
    if as_json {
        let mut line = json!(ending);
        line["name"] = name.into();
        terminal::json(&line);
        return exit;
    }
    match ending {
        UploadEnding::Published { sha256, length, generation } => {
            say!(
                "published {name}: generation {generation}, {}, sha256 {sha256}",
                text::bytes(*length)
            );
        }
        UploadEnding::Gone { generation } => say!("gone {name}: generation {generation}"),
        UploadEnding::Rejected { reason } => complain!("rejected {name}: {reason}"),
        UploadEnding::Superseded { sha256 } => {
            complain!(
                "superseded {name}: other bytes are uploaded under this name, with sha256 {sha256}"
            );
        }
        UploadEnding::TimedOut { reason } => complain!("timed out {name}: {reason}"),
        UploadEnding::Denied { reason } => complain!("denied {name}: {reason}"),
    }
    exit
}
