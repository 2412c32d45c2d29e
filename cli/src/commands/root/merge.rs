//! `tufline root merge`: collects the signatures of copies that were signed in different places.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tufline_tuf::root::needed;

use crate::ceremony::{RootDocument, RootDocumentArguments, open, write};
use crate::exit::{Exit, Result};
use crate::terminal::say;
use crate::text::{self, Quoted};

/// Merges the signatures of copies of a root into its file.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    document: RootDocumentArguments,
    /// The copies that other holders signed
    #[arg(value_name = "COPY", required = true)]
    copies: Vec<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result {
    let RootDocument { path, mut file, previous } = arguments.document.open()?;
    let previous = previous.map(|previous| previous.root);
    let mut new = 0;
    for copy in &arguments.copies {
        let other = open(copy)?;
        new += file
            .merge(&other, previous.as_ref())
            .with_context(|| format!("{} cannot be merged", copy.quoted()))?;
    }
    write(&path, &file)?;
    let added = text::count(new as u64, "signature");
    match needed(&file, previous.as_ref()) {
        0 => say!("{added} added: enough to be published with `tufline root publish`"),
        needed => {
            say!("{added} added; at least {} still missing", text::count(needed, "signature"));
        }
    }
    Ok(Exit::Done)
}
