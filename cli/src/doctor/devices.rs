//! The repository as devices see it, and what of it expires.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use serde_json::Value;
use tufline_pipeline::state::ledger;
use tufline_tuf::{Config, Time};

use super::checks;
use super::report::{Code, Finding, together};
use crate::connection::Connection;
use crate::inside::Inside;
use crate::outcome::one_line;
use crate::root::document::now;
use crate::source::{Seen, Source};
use crate::status;

/// Updates a device that trusts nothing but the root, and looks at the expiries: of what it verified, and of the bins and other parties' roles, which only
/// operators can list without reading all of them.
pub async fn check(connection: &Connection, config: &Config, unanswered: &str) -> Vec<Finding> {
    let seen = see(connection).await;
    let mut roles: BTreeMap<String, Time> = BTreeMap::new();
    let mut findings = vec![match seen {
        Ok((place, seen)) => {
            roles.extend(expiries(&seen));
            let generation = seen.snapshot.version;
            Finding::ok(Code::Devices, place, format!("a device updates, and sees generation {generation}"))
        }
        Err(SeenNothing::NotAsked(why)) => {
            let advice = "give what a device has, by these variables (docs/devices.md)";
            Finding::unchecked(Code::Devices, "a device", &one_line(&why), advice)
        }
        Err(SeenNothing::Failed(why)) => Finding::problem(Code::Devices, "a device", one_line(&why), unanswered),
    }];
    let inside = inside(connection).await;
    let mut wrong = Vec::new();
    match inside {
        Ok((inside, clock)) => {
            findings.extend(clock);
            // What devices verified counts more.
            roles = inside.into_iter().chain(roles).collect();
        }
        Err(error) => {
            let (what, why) = ("what only operators can list", one_line(&error));
            let advice = "ask an operator to run this, or give an operator's keys with --admin FILE";
            wrong.push(Finding::unchecked(Code::Expiry, what, &why, advice));
        }
    }
    wrong.extend(roles.iter().filter_map(|(role, expires)| checks::expiry(role, *expires, now(), &config.expiry)));
    findings.extend(together(Code::Expiry, "all roles", "none expires soon", wrong));
    findings
}

enum SeenNothing {
    /// This machine hasn't what a device has.
    NotAsked(anyhow::Error),
    /// The device failed.
    Failed(anyhow::Error),
}

async fn see(connection: &Connection) -> Result<(String, Seen), SeenNothing> {
    let source = Source::of(connection).map_err(SeenNothing::NotAsked)?;
    let place = connection.public().map_err(SeenNothing::NotAsked)?.metadata_url.to_string();
    let seen = source.update(&BTreeSet::new()).await.map_err(SeenNothing::Failed)?;
    Ok((place, seen))
}

/// The files are verified already.
fn expiries(seen: &Seen) -> Vec<(String, Time)> {
    let of_file = |(file, bytes): (&String, &Vec<u8>)| {
        let role = file.strip_suffix(".json")?;
        let role = role.split_once('.').map_or(role, |(_, role)| role);
        let document: Value = serde_json::from_slice(bytes).ok()?;
        Some((role.to_owned(), document["signed"]["expires"].as_str()?.parse().ok()?))
    };
    let root = ("root".to_owned(), seen.root.file().common().expires);
    seen.files.iter().filter_map(of_file).chain([root]).collect()
}

/// All roles' expiries as the ledger has them, and whether the clock is behind what is published.
async fn inside(connection: &Connection) -> anyhow::Result<(BTreeMap<String, Time>, Option<Finding>)> {
    let inside = Inside::for_operator(connection)?;
    let store = &*inside.store;
    let published = ledger::published(store).await?.context("nothing is published yet: run `tufline init` first")?;
    let manifest = ledger::manifest(store, published.generation).await?;
    let mut unreadable = Vec::new();
    let roles = status::roles(&inside, &published, &manifest, &mut unreadable).await;
    if let Some(first) = unreadable.first() {
        anyhow::bail!("{first}");
    }
    // On AWS the store's clock is another than that of whoever looks.
    let behind = inside.data()?.and_then(|_| published.clock_behind(inside.clock.now()));
    let clock = inside.data()?.map(|_| match behind {
        Some(stored) => {
            let why =
                format!("behind: the timestamp was stored at {stored}, and nothing is published or renewed until then");
            Finding::problem(Code::Clock, "this machine's clock", why, "set it right (docs/operations.md#the-clock)")
        }
        None => Finding::ok(Code::Clock, "this machine's clock", "not behind what it signed last"),
    });
    Ok((roles.into_iter().map(|role| (role.name.as_str().to_owned(), role.expires)).collect(), clock))
}
