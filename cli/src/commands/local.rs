//! `tufline local`: the embedded form. One process watches a folder of uploads, runs the stages,
//! and answers devices.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tufline_tuf::generation::FirstBins;

use crate::embedded::{Options, Running};
use crate::exit::{Exit, Result};
use crate::process::StopSignal;
use crate::repository::FolderEndpoints;
use crate::terminal::{self, say};
use crate::text::{self, Quoted};

/// Runs a repository in a folder: publishes the files dropped in its uploads folder, and serves
/// them to devices.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The folder of the repository; created on the first start
    #[arg(long, default_value = ".tufline", value_name = "DIR")]
    data: PathBuf,
    /// The folder to drop files in [default: DIR/uploads]
    #[arg(long, value_name = "DIR")]
    uploads: Option<PathBuf>,
    /// The address and port on which to serve devices
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// How many bins a new repository has at the start: 1, 16, 256 or 4096. It splits further by
    /// itself
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    bins: FirstBins,
}

/// Runs until a signal stops it.
pub async fn run(arguments: Arguments) -> Result {
    let mut stop = StopSignal::take()?;
    let Arguments { data, uploads, listen, bins } = arguments;
    let running = Running::start(Options { data, uploads, listen, bins, reports: None }).await?;
    if running.is_new {
        let keys = running.data.join("keys");
        say!(
            "note: the root key and all online keys are new, and are plain files in {}. Anybody \
             who reads them can sign for your devices: good for development and tests, not for \
             devices in the field.",
            keys.quoted()
        );
        say!("");
    }
    terminal::lines(&describe_usage(&running.endpoints, &running.data.join("endpoints.json")));
    stop.wait().await;
    tracing::info!("stopping");
    running.stop().await?;
    Ok(Exit::Done)
}

fn describe_usage(endpoints: &FolderEndpoints, file: &std::path::Path) -> String {
    let FolderEndpoints { uploads, public, events } = endpoints;
    format!(
        "\
ready. Drop files in {uploads}, or

  tufline upload FILE --wait --endpoints {file}

Devices ship with {root}. With python-tuf:

  from tuf.ngclient import Updater
  updater = Updater(\"metadata\", \"{metadata}\", \"downloads\", \"{targets}\",
                    bootstrap=open({quoted}, \"rb\").read())   # the folders must exist
  print(updater.download_target(updater.get_targetinfo(\"FILE\")))

Events are lines in {events}. Ctrl-C stops it.",
        uploads = uploads.quoted(),
        file = file.quoted(),
        root = public.trusted_root.quoted(),
        // A JSON string is also a Python string.
        quoted = text::plain_json(&public.trusted_root.to_string_lossy().into()),
        metadata = public.metadata_url,
        targets = public.targets_url,
        events = events.quoted(),
    )
}
