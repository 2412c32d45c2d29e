//! `tufline delegation show`: which party may sign for which names, and what it delivered.

use clap::Args;
use serde_json::json;
use tufline_pipeline::state::parties::read_parties;
use tufline_pipeline::state::pending::Tip;
use tufline_tuf::delegations::Party;
use tufline_tuf::root::{key_id, kind, short_id};
use tufline_tuf::{Parties, RoleName};

use crate::exit::{Exit, Result};
use crate::process::now;
use crate::repository::RepositoryArguments;
use crate::terminal::{self, say};
use crate::text;

/// Shows the delegations to other parties.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Show only this party's delegation
    #[arg(value_name = "ROLE")]
    role: Option<RoleName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: RepositoryArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    let store = arguments.repository.open().await?.store()?;
    let tip = Tip::read(&*store).await?;
    let newest = tip.newest();
    let all = read_parties(&*store, newest).await?;
    let shown = all
        .parties
        .iter()
        .filter(|(role, _)| arguments.role.as_ref().is_none_or(|wanted| wanted == *role));
    let shown: Vec<_> = shown.collect();
    if let (Some(role), true) = (&arguments.role, shown.is_empty()) {
        anyhow::bail!("nothing is delegated to {role}");
    }
    if arguments.json {
        let all = shown.into_iter().map(|(role, party)| as_json(&all, role, party));
        terminal::json(&json!({"delegations": all.collect::<anyhow::Result<Vec<_>>>()?}));
        return Ok(Exit::Done);
    }
    if shown.is_empty() {
        say!("nothing is delegated");
    }
    for (role, party) in shown {
        print(&all, role, party)?;
    }
    Ok(Exit::Done)
}

fn as_json(all: &Parties, role: &RoleName, party: &Party) -> anyhow::Result<serde_json::Value> {
    let keys = party
        .keys
        .iter()
        .map(|key| anyhow::Ok(json!({"keyid": hex::encode(key_id(key)?), "key": key})));
    let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
    let documents = party
        .roles(role)
        .filter_map(|role| Some((role.to_string(), json!(all.documents.get(role)?))));
    Ok(json!({
        "role": role, "state": party.state, "paths": party.paths, "threshold": party.threshold, "keys": keys,
        "documents": documents.collect::<serde_json::Map<_, _>>(),
    }))
}

fn print(all: &Parties, role: &RoleName, party: &Party) -> anyhow::Result<()> {
    say!("{role}: {}", party.state.as_str());
    say!(
        "  paths     {}",
        party.paths.iter().map(tufline_tuf::Pattern::as_str).collect::<Vec<_>>().join(" ")
    );
    say!("  signed by {} of {}", party.threshold, text::count(party.keys.len() as u64, "key"));
    for key in &party.keys {
        say!("            {} {}", short_id(&key_id(key)?), kind(key));
    }
    for role in party.roles(role) {
        if let Some(document) = all.documents.get(role) {
            say!(
                "  {role} version {}, expires {}",
                document.version,
                text::until(now(), document.expires)
            );
        }
    }
    Ok(())
}
