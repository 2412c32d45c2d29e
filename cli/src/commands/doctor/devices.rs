//! The repository as devices see it: its expiries, and the reasons for attention of `tufline
//! status`.

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

/// Updates a device that trusts nothing but the root, adds the reasons for attention of `tufline
/// status`, and checks the expiries that both report. If the device fails for no known reason,
/// `unanswered` is the advice.
pub async fn check(repository: &Repository, unanswered: &str) -> Vec<Finding> {
    let in_folder = matches!(repository, Repository::Folder(_));
    let known = collect(repository, None, Rejections::Last).await;
    let mut roles: BTreeMap<String, Time> = BTreeMap::new();
    let mut findings = vec![match see(repository).await {
        Ok((place, seen)) => {
            roles.extend(find_expiries(&seen));
            let generation = seen.snapshot.version;
            Finding::ok(
                Code::Devices,
                place,
                format!("a device updates, and sees generation {generation}"),
            )
        }
        Err(NoView::NotAsked(why)) => {
            let advice = "give a device's credentials in these variables (docs/uploads.md)";
            Finding::unchecked(Code::Devices, "a device", &one_line(&why), advice)
        }
        Err(NoView::Failed(why)) => {
            let advice = match &known {
                Ok(status) if status.runs == Some(false) => "start `tufline local`",
                Ok(status) if !status.damaged.is_empty() => "restore the file that is named below",
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
            // What the device verified overrides what the status reports.
            roles = known.chain(roles).collect();
        }
        Err(error) => {
            findings.push(unread(&one_line(&error), in_folder));
            let what = "the roles that devices don't read";
            late.push(Finding::unchecked(
                Code::Expiry,
                what,
                "the repository's records can't be read, as shown above",
                "fix that first",
            ));
        }
    }
    // If the configuration can't be read, another check says so.
    let lifetimes = repository.lifetimes().ok().flatten();
    let expiry = |(role, expires): (&String, &Time)| {
        expiry_reason(role, *expires, now(), lifetimes.as_ref())
    };
    late.extend(roles.iter().filter_map(expiry).map(|reason| waiting::finding(&reason)));
    findings.extend(together(Code::Expiry, "all roles", "none expires soon", late));
    findings
}

/// The finding for a part of the status that can't be read. In a folder that is a problem with the
/// files, since there are no permissions to lack; on AWS the sign-in may lack one.
fn unread(why: &str, in_folder: bool) -> Finding {
    if in_folder {
        let advice = "see `tufline status` (docs/operations.md#when-something-was-lost)";
        return Finding::problem(Code::Waiting, "the repository", why, advice);
    }
    let advice = "ask an operator to run this, or give an operator's credentials with --admin FILE";
    Finding::unchecked(Code::Waiting, "what only an operator may read", why, advice)
}

enum NoView {
    /// This machine lacks a device's credentials.
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

/// The expiry of each role, from files that the device has verified already.
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
