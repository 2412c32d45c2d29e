//! A device with tough: `device ROOT METADATA_URL TARGETS_URL STATE NAME OUT`
//!
//! It needs `tough` with the feature `http`, `rustls` with `aws_lc_rs`, and `tokio` with `fs`,
//! `macros` and `rt`. ROOT is the `root.json` of the device's image. STATE is a folder that
//! survives a reboot. URLs end in a slash. It exits with 3 if the repository has no such target.
//!
//! The tests that compare clients run this program.

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use tough::{HttpTransportBuilder, IntoVec, RepositoryLoader, TargetName};

const NO_SUCH_TARGET: u8 = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run().await.unwrap_or_else(|error| {
        eprintln!("tough: {error}");
        ExitCode::FAILURE
    })
}

async fn run() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [root, metadata, targets, state, name, out] = &arguments[..] else {
        return Err(
            "six arguments are expected: ROOT METADATA_URL TARGETS_URL STATE NAME OUT".into()
        );
    };
    tokio::fs::create_dir_all(state).await?;
    let root = tokio::fs::read(root).await?;
    // tough waits before every attempt, even the first: with its defaults each file takes 0.2 s
    // (docs/other-clients.md).
    let transport = HttpTransportBuilder::new().crypto_provider(aws_lc_rs::default_provider());
    let transport = transport.initial_backoff(Duration::from_millis(20)).build();
    let loader = RepositoryLoader::new(&root, metadata.parse()?, targets.parse()?);
    let repository = loader.transport(transport).datastore(state).load().await?;
    let Some(bytes) = repository.read_target(&TargetName::new(name)?).await? else {
        return Ok(ExitCode::from(NO_SUCH_TARGET));
    };
    tokio::fs::write(out, bytes.into_vec().await?).await?;
    Ok(ExitCode::SUCCESS)
}
