//! The embedded form: its folders, its disk, and what its process reports.

use std::path::Path;

use rustix::fs::statvfs;

use super::report::{Code, Finding};
use super::{checks, devices};
use crate::failure::one_line;
use crate::repository::{FolderRepository, Repository};
use crate::text::Quoted;

/// The advice if there is no repository in the folder.
pub const START: &str = "start `tufline local` (docs/embedded.md)";

/// The advice if its process runs but devices get no answer.
const UNANSWERED: &str =
    "look in the log of `tufline local` for why it doesn't answer (docs/embedded.md)";

/// All checks of a repository in a folder.
pub async fn check(folder: &FolderRepository, repository: &Repository) -> Vec<Finding> {
    let data = folder.data();
    let what = data.quoted();
    let endpoints = match folder.endpoints().and_then(|endpoints| folder.store().map(|_| endpoints))
    {
        Ok(endpoints) => endpoints,
        Err(error) => {
            let advice = "name the right folder, and let this user read it (docs/embedded.md)";
            return vec![Finding::problem(Code::Data, what, one_line(&error), advice)];
        }
    };
    let mut findings = vec![Finding::ok(Code::Data, what, "it can be opened"), space(data)];
    // Any name will do: as long as the folder is not mounted, no upload can be read.
    let looked = async { anyhow::Ok(repository.uploads()?.head("a").await?) };
    findings.push(match looked.await {
        Ok(_) => Finding::ok(Code::Uploads, endpoints.uploads.quoted(), "it can be opened"),
        Err(error) => {
            let advice = "mount it, or let this user read it (docs/embedded.md)";
            Finding::problem(Code::Uploads, endpoints.uploads.quoted(), one_line(&error), advice)
        }
    });
    match folder.config() {
        Ok(_) => findings.extend(devices::check(repository, UNANSWERED).await),
        Err(error) => {
            let advice = "correct it (docs/embedded.md)";
            findings.push(Finding::problem(
                Code::Data,
                "the configuration",
                one_line(&error),
                advice,
            ));
        }
    }
    findings
}

fn space(data: &Path) -> Finding {
    let what = format!("the disk of {}", data.quoted());
    match statvfs(data) {
        Ok(disk) => checks::judge_space(&what, disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => Finding::unchecked(
            Code::Space,
            what,
            &error.to_string(),
            "let this user read the folder",
        ),
    }
}
