//! The trial artifact of `--try`, which goes through the whole pipeline: the only check that
//! changes anything.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use aws_lc_rs::rand;
use indicatif::ProgressBar;
use tokio::time::Instant;
use tufline_tuf::{Sha256, TargetName};

use super::report::{Code, Finding};
use crate::failure::one_line;
use crate::repository::Repository;
use crate::source::{ClientSource, list_targets};
use crate::text;
use crate::uploading::{PlannedUpload, UploadsBucket, put_upload};
use crate::waiting::{Awaited, Goal, UploadEnding, wait_for};

/// The folder of the trial artifact: its name keeps people from taking it for one of theirs.
const FOLDER: &str = "tufline-doctor";

/// How long devices may take to see the artifact, and then its removal. A burst of earlier uploads
/// goes first.
const PATIENCE: Duration = Duration::from_mins(2);

/// Uploads a small target, waits until devices see it, fetches and compares it, removes it, and
/// waits until devices no longer see it.
///
/// It removes the upload whatever fails on the way.
pub async fn run(repository: &Repository) -> Finding {
    // Checked before anything changes: without a device's view nobody could tell how the trial
    // ends.
    let source = match ClientSource::of(repository) {
        Ok(source) => source,
        Err(error) => {
            let advice = "give a device's credentials in these variables (docs/uploads.md)";
            return Finding::unchecked(Code::Trial, "one artifact", &one_line(&error), advice);
        }
    };
    let (name, bytes) = match make_artifact() {
        Ok(artifact) => artifact,
        Err(error) => {
            return Finding::problem(
                Code::Trial,
                "one artifact",
                one_line(&error),
                "nothing was uploaded; run this again",
            );
        }
    };
    match try_artifact(repository, &source, &name, &bytes).await {
        Ok(done) => Finding::ok(Code::Trial, name.as_str(), done),
        Err(error) => {
            let advice = "look at the problems above, and at `tufline status`";
            Finding::problem(Code::Trial, name.as_str(), one_line(&error), advice)
        }
    }
}

async fn try_artifact(
    repository: &Repository,
    source: &ClientSource,
    name: &TargetName,
    bytes: &[u8],
) -> anyhow::Result<String> {
    let uploaded = Instant::now();
    let seen = async {
        put(repository, name, bytes).await?;
        wait(repository, name, Goal::Bytes(Sha256::of(bytes))).await?;
        let visible = uploaded.elapsed();
        fetch(source, name, bytes).await?;
        anyhow::Ok(visible)
    };
    let seen = seen.await;
    // Removed in any case: an upload that failed may still have arrived.
    let removed = Instant::now();
    let gone = async {
        let left = || format!("the upload {name} could not be removed: remove it by hand");
        remove(repository, name).await.with_context(left)?;
        wait(repository, name, Goal::Gone).await
    };
    let gone = gone.await;
    let seen = seen?;
    gone?;
    Ok(format!(
        "devices saw it after {}, fetched it, and saw it gone {} after its removal; two \
         generations of metadata and a blob of {} remain",
        text::took(seen),
        text::took(removed.elapsed()),
        text::bytes(bytes.len() as u64)
    ))
}

/// A random name and content: with an older upload's bytes the trial would prove nothing.
fn make_artifact() -> anyhow::Result<(TargetName, Vec<u8>)> {
    let mut random = [0; 8];
    rand::fill(&mut random).ok().context("the system has no randomness")?;
    let id = hex::encode(random);
    let name = format!("{FOLDER}/{id}.txt")
        .parse()
        .map_err(|refusal: tufline_tuf::Rejection| anyhow::anyhow!(refusal.reason))?;
    Ok((name, format!("`tufline doctor --try` made this: {id}\n").into_bytes()))
}

async fn put(repository: &Repository, name: &TargetName, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder for the artifact")?;
    let file = folder.path().join("artifact");
    std::fs::write(&file, bytes).context("cannot write the artifact")?;
    let planned = PlannedUpload { file, name: name.clone(), length: bytes.len() as u64 };
    put_upload(repository, &planned, None, &ProgressBar::hidden()).await?;
    Ok(())
}

async fn wait(repository: &Repository, name: &TargetName, goal: Goal) -> anyhow::Result<()> {
    let endings = wait_for(repository, &[Awaited { name: name.clone(), goal }], PATIENCE).await?;
    match endings.into_iter().next() {
        Some(UploadEnding::Published { .. } | UploadEnding::Gone { .. }) => Ok(()),
        Some(UploadEnding::Rejected { reason }) => bail!("it was rejected: {reason}"),
        Some(UploadEnding::Superseded { .. }) => bail!("somebody else uploads the same name"),
        Some(UploadEnding::TimedOut { reason }) => {
            bail!("after {}: {reason}", text::took(PATIENCE))
        }
        Some(UploadEnding::Denied { reason }) => {
            bail!("it is not known what became of it: {reason}")
        }
        None => bail!("nobody waited for it"),
    }
}

async fn fetch(source: &ClientSource, name: &TargetName, bytes: &[u8]) -> anyhow::Result<()> {
    let seen = source.update(&BTreeSet::from([name.to_string()])).await?;
    let targets = list_targets(&seen)?;
    let target = targets.get(name.as_str()).with_context(|| format!("devices don't see {name}"))?;
    let mut file =
        tempfile::NamedTempFile::new().context("cannot make a file for what is fetched")?;
    source.download(&seen, name.as_str(), target, &mut file).await?;
    let fetched = std::fs::read(file.path()).context("cannot read what was fetched")?;
    ensure!(fetched == bytes, "what devices fetch is not what was uploaded");
    Ok(())
}

async fn remove(repository: &Repository, name: &TargetName) -> anyhow::Result<()> {
    match repository {
        Repository::Folder(folder) => {
            let uploads = &folder.endpoints()?.uploads;
            let file = uploads.join(name.as_str());
            crate::files::remove(&file)?;
            // This removes only an empty folder: another trial may have its artifact in it.
            _ = std::fs::remove_dir(uploads.join(FOLDER));
            Ok(())
        }
        Repository::Aws(aws) => UploadsBucket::of(aws)?.remove(name).await,
    }
}
