//! The embedded form: its folders, its disk, and what its process says.

use std::path::Path;

use rustix::fs::statvfs;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::roots;
use tufline_pipeline::state::roots::IgnoredRoot;

use super::report::{Code, Finding, together};
use super::{checks, devices};
use crate::connection::{Connection, FolderEndpoints};
use crate::inside::Inside;
use crate::local::{configured, troubles};
use crate::outcome::one_line;
use crate::show::{self, Quoted};
use crate::status;

/// What to do where nobody answers.
const START: &str = "start `tufline local`, or see why it doesn't answer (docs/embedded.md)";

/// All checks of a repository in a folder.
pub async fn check(endpoints: &FolderEndpoints, connection: &Connection) -> Vec<Finding> {
    let data = match endpoints.data() {
        Ok(data) => data,
        Err(error) => return vec![Finding::problem(Code::Data, "the data folder", one_line(&error), START)],
    };
    let what = data.quoted();
    let inside = match Inside::for_operator(connection) {
        Ok(inside) => inside,
        Err(error) => {
            let advice = "name the right folder, and let this user read it (docs/embedded.md)";
            return vec![Finding::problem(Code::Data, what, one_line(&error), advice)];
        }
    };
    let mut findings = vec![Finding::ok(Code::Data, what, "it can be opened"), space(data)];
    // Which upload is looked at doesn't matter: none can be while it is not mounted.
    let looked = async { anyhow::Ok(inside.uploads()?.head("a").await?) };
    findings.push(match looked.await {
        Ok(_) => Finding::ok(Code::Uploads, endpoints.uploads.quoted(), "it can be opened"),
        Err(error) => {
            let advice = "mount it, or let this user read it (docs/embedded.md)";
            Finding::problem(Code::Uploads, endpoints.uploads.quoted(), one_line(&error), advice)
        }
    });
    findings.extend(told(data));
    findings.extend(waiting(&inside).await.unwrap_or_else(|error| {
        let advice = "see `tufline status` (docs/operations.md)";
        vec![Finding::problem(Code::Waiting, "the ledger", one_line(&error), advice)]
    }));
    match configured(data) {
        Ok(config) => findings.extend(devices::check(connection, &config, START).await),
        Err(error) => {
            let advice = "correct it (docs/embedded.md)";
            findings.push(Finding::problem(Code::Data, "the configuration", one_line(&error), advice));
        }
    }
    findings
}

fn space(data: &Path) -> Finding {
    let what = format!("the disk of {}", data.quoted());
    match statvfs(data) {
        Ok(disk) => checks::space(&what, disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => Finding::unchecked(Code::Space, what, &error.to_string(), "let this user read the folder"),
    }
}

/// What waits for an operator; nothing where nothing does.
async fn waiting(inside: &Inside) -> anyhow::Result<Vec<Finding>> {
    let store = &*inside.store;
    let mut findings = Vec::new();
    for IgnoredRoot { version, reason, .. } in roots::ignored(store).await? {
        let advice = "somebody may write there who shouldn't: `tufline status` says more (docs/keys.md)";
        findings.push(Finding::problem(Code::Waiting, format!("metadata/{version}.root.json"), reason, advice));
    }
    if let Some(published) = ledger::published(store).await? {
        let held = status::held(inside, &ledger::manifest(store, published.generation).await?).await?;
        if !held.is_empty() {
            let why = format!("{} held", show::count(held.len() as u64, "removal"));
            let advice = "bring the files back, or run `tufline accept-removals` (docs/uploads.md)";
            findings.push(Finding::problem(Code::Waiting, "removals", why, advice));
        }
    }
    Ok(findings)
}

/// What the process fails at, as it says itself.
fn told(data: &Path) -> Vec<Finding> {
    let record = troubles::read(data);
    let mut wrong: Vec<Finding> = record
        .troubles
        .into_iter()
        .map(|trouble| {
            let why = format!("fails since {}: {}", trouble.since, trouble.why);
            let advice = "the reason says it (docs/embedded.md#when-something-around-it-fails)";
            Finding::problem(Code::Troubles, trouble.what, why, advice)
        })
        .collect();
    if record.more > 0 {
        let why = format!("{} more fail", record.more);
        wrong.push(Finding::problem(Code::Troubles, "others", why, "look into the log of `tufline local`"));
    }
    together(Code::Troubles, "its process", "it fails at nothing", wrong)
}
