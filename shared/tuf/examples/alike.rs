//! Shows how this code, and `tough` for clients in Rust, treat documents.
//! `tests/e2e/test_canonical.py` runs it, and asks other clients the same questions. It reads a
//! JSON object from each line and writes one line in answer.

use std::io::{BufRead, Write, stdin, stdout};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tough::schema::{self, Role, Root, Signed, Targets};
use tufline_tuf::root::RootFile;
use tufline_tuf::{RoleKeys, RoleName, canonical, custom, delivery, json, verify};

/// A question, one on each line.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
enum Question {
    /// The text of an upload's custom metadata.
    Custom { text: String },
    /// The text of a file of this kind (`root` or `targets`), and a root that lists its keys.
    File { kind: String, text: String, trusted: String },
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Question::Custom { text } => match custom::parse(&text) {
                Ok(custom) => json!({"written": String::from_utf8(json::to_vec(&custom)?)?}),
                Err(refusal) => json!({"refused": refusal.reason}),
            },
            Question::File { kind, text, trusted } => {
                let trusted: Signed<Root> = serde_json::from_str(&trusted)?;
                if kind == "root" {
                    root(&text, &trusted.signed)
                } else {
                    targets(&text, &trusted.signed)
                }
            }
        };
        writeln!(stdout(), "{answer}")?;
    }
    Ok(())
}

fn root(text: &str, trusted: &Root) -> Value {
    let ours =
        RootFile::read(text.as_bytes()).map_err(|error| error.to_string()).and_then(|file| {
            let form = canonical::form(file.root()).map_err(|unalike| unalike.to_string())?;
            let written = json::to_vec(file.root()).map_err(|error| error.to_string())?;
            let signed = [trusted, file.root()]
                .into_iter()
                .all(|judge| verifies::<Root>(text, judge, &RoleName::root()));
            Ok((form, written, signed))
        });
    let tough = serde_json::from_str::<schema::Signed<Root>>(text).ok().and_then(|file| {
        let roles: std::collections::BTreeMap<String, usize> =
            file.signed.roles.keys().map(|role| (role.to_string(), file.signed.keys(*role).count())).collect();
        let verifies = [trusted, &file.signed].iter().all(|judge| judge.verify_role(&file).is_ok());
        Some(json!({"form": hex::encode(file.signed.canonical_form().ok()?), "verifies": verifies, "says": {"keys": roles}}))
    });
    answer(ours, tough.as_ref())
}

fn targets(text: &str, trusted: &Root) -> Value {
    let role = RoleName::targets();
    let ours = delivery::check_form(&role, text.as_bytes())
        .map_err(|refusal| refusal.reason)
        .and_then(|()| {
            let file: schema::Signed<Targets> =
                serde_json::from_str(text).map_err(|error| error.to_string())?;
            let form = canonical::form(&file.signed).map_err(|unalike| unalike.to_string())?;
            let written = json::to_vec(&file.signed).map_err(|error| error.to_string())?;
            Ok((form, written, verifies::<Targets>(text, trusted, &role)))
        });
    let tough = serde_json::from_str::<schema::Signed<Targets>>(text).ok().and_then(|file| {
        let digests: std::collections::BTreeMap<&str, String> =
            file.signed.targets.iter().map(|(name, target)| (name.raw(), hex::encode(&target.hashes.sha256))).collect();
        let below = file.signed.delegations.iter().flat_map(|delegations| {
            let known = |id: &&_| delegations.keys.contains_key(*id);
            delegations.roles.iter().map(move |role| json!([role.name, role.keyids.iter().filter(known).count()]))
        });
        let says = json!({"digests": digests, "roles": below.collect::<Vec<_>>()});
        let verifies = trusted.verify_role(&file).is_ok();
        Some(json!({"form": hex::encode(file.signed.canonical_form().ok()?), "verifies": verifies, "says": says}))
    });
    answer(ours, tough.as_ref())
}

fn verifies<T: tufline_tuf::RoleDocument>(text: &str, judge: &Root, role: &RoleName) -> bool {
    RoleKeys::in_root(judge, role)
        .is_ok_and(|keys| verify::<T>(Bytes::copy_from_slice(text.as_bytes()), &keys).is_ok())
}

fn answer(ours: Result<(Vec<u8>, Vec<u8>, bool), String>, tough: Option<&Value>) -> Value {
    match ours {
        Ok((form, written, verifies)) => {
            json!({"form": hex::encode(form), "written": String::from_utf8_lossy(&written), "verifies": verifies, "tough": tough})
        }
        Err(why) => json!({"refused": why, "tough": tough}),
    }
}
