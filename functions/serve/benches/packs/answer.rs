//! Answers requests from standard input. Another program takes them from devices.
//!
//! A request is a line of JSON: `{"state", "path", "query", "fields": {…}}`, with a decoded path.
//! An answer is a line of JSON, `{"status", "fields": [[name, value], …], "length"}`, and then
//! `length` bytes.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::path::Path;

use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};
use tufline_serve::{Body, PACK_PATH, ServedRepository};
use tufline_store::memory::Calm;

use crate::folder::Repository;

/// Answers every request until the input ends.
pub async fn run(folder: &Path) {
    let repository = Repository::read(folder);
    let states =
        repository.states().map(|state| (state.clone(), repository.served(state, Box::new(Calm))));
    let states: BTreeMap<String, ServedRepository> = states.collect();
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let text = |field: &str| request[field].as_str().unwrap();
        let (served, path) = (&states[text("state")], text("path"));
        let answer = if path == PACK_PATH {
            served.pack(&Method::GET, text("query")).await
        } else {
            served.answer(&Method::GET, path, &fields(&request["fields"])).await
        };
        let Body::Whole(bytes) = answer.body else { panic!("{path} is no metadata") };
        let fields: Vec<_> = answer
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        let head =
            json!({"status": answer.status.as_u16(), "fields": fields, "length": bytes.len()});
        writeln!(out, "{head}").unwrap();
        out.write_all(&bytes).unwrap();
        out.flush().unwrap();
    }
}

fn fields(given: &Value) -> HeaderMap {
    let fields = given.as_object().unwrap().iter();
    fields
        .map(|(name, value)| {
            (name.parse::<HeaderName>().unwrap(), value.as_str().unwrap().parse().unwrap())
        })
        .collect()
}
