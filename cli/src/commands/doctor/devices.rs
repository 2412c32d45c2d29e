//! The repository as devices see it, what of it expires, and what `tufline status` says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tufline_tuf::Time;

use super::report::{Code, Finding, together};
use super::waiting;
use crate::failure::one_line;
use crate::health::{Rejections, collect, expiry_reason};
use crate::process::now;
use crate::repository::Repository;
use crate::source::{ClientSource, VerifiedRepository};

/// Updates a device that trusts nothing but the root, and takes what `tufline status` would have somebody look at; looks at the expiries of what both know. Where
/// devices fail, and nothing tells why, `unanswered` says what to do.
pub async fn check(repository: &Repository, unanswered: &str) -> Vec<Finding> {
    let in_folder = matches!(repository, Repository::Folder(_));
    let known = collect(repository, None, Rejections::Last).await;
    let mut roles: BTreeMap<String, Time> = BTreeMap::new();
    let mut findings = vec![match see(repository).await {
        Ok((place, seen)) => {
            roles.extend(find_expiries(&seen));
            let generation = seen.snapshot.version;
            Finding::ok(Code::Devices, place, format!("a device updates, and sees generation {generation}"))
        }
        Err(NoView::NotAsked(why)) => {
            let advice = "give what a device has, by these variables (docs/devices.md)";
            Finding::unchecked(Code::Devices, "a device", &one_line(&why), advice)
        }
        Err(NoView::Failed(why)) => {
            let advice = match &known {
                Ok(status) if status.runs == Some(false) => "start `tufline local`",
                Ok(status) if !status.damaged.is_empty() => "bring back the file that is told below",
                _ => unanswered,
            };
            Finding::problem(Code::Devices, "a device", one_line(&why), advice)
        }
    }];
    let mut late = Vec::new();
    match known {
        Ok(status) => {
            let unread = status.unreadable.iter().map(|why| unread(why, in_folder)).collect();
            findings.extend(waiting::findings(&status.attention, unread, in_folder));
            let known = status.roles.into_iter().map(|role| (role.name.to_string(), role.expires));
            // What devices verified counts more.
            roles = known.chain(roles).collect();
        }
        Err(error) => {
            findings.push(unread(&one_line(&error), in_folder));
            let what = "what devices don't read";
            late.push(Finding::unchecked(
                Code::Expiry,
                what,
                "the repository's records can't be read, as is told above",
                "mend that first",
            ));
        }
    }
    // If the configuration can't be read another check says so.
    let lifetimes = repository.lifetimes().ok().flatten();
    let expiry = |(role, expires): (&String, &Time)| expiry_reason(role, *expires, now(), lifetimes.as_ref());
    late.extend(roles.iter().filter_map(expiry).map(|reason| waiting::finding(&reason)));
    findings.extend(together(Code::Expiry, "all roles", "none expires soon", late));
    findings
}

/// What can't be told of the repository. In a folder nobody is kept from it, so something is wrong with what lies there.
fn unread(why: &str, in_folder: bool) -> Finding {
    if in_folder {
        let advice = "see `tufline status` (docs/operations.md#when-something-was-lost)";
        return Finding::problem(Code::Waiting, "the repository", why, advice);
    }
    let advice = "ask an operator to run this, or give an operator's keys with --admin FILE";
    Finding::unchecked(Code::Waiting, "what only operators may read", why, advice)
}

enum NoView {
    /// This machine hasn't what a device has.
    NotAsked(anyhow::Error),
    /// The device failed.
    Failed(anyhow::Error),
}

async fn see(repository: &Repository) -> Result<(String, VerifiedRepository), NoView> {
    let source = ClientSource::of(repository).map_err(NoView::NotAsked)?;
    let place = repository.public().map_err(NoView::NotAsked)?.metadata_url.to_string();
    let seen = source.update(&BTreeSet::new()).await.map_err(NoView::Failed)?;
    Ok((place, seen))
}

/// The files are verified already.
fn find_expiries(seen: &VerifiedRepository) -> Vec<(String, Time)> {
    let of_file = |(file, bytes): (&String, &Vec<u8>)| {
        let role = file.strip_suffix(".json")?;
        let role = role.split_once('.').map_or(role, |(_, role)| role);
        let document: Value = serde_json::from_slice(bytes).ok()?;
        Some((role.to_owned(), document["signed"]["expires"].as_str()?.parse().ok()?))
    };
    let root = ("root".to_owned(), seen.root.file().common().expires);
    seen.files.iter().filter_map(of_file).chain([root]).collect()
}
