//! The other repository: where it is, how its files lie there, and what of it goes on here.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tempfile::NamedTempFile;
use tufline_functions::import::Old;
use tufline_store::{Head, Uploads};
use tufline_tuf::generation::UsedUp;
use tufline_tuf::{Content, Custom, TargetName};

use crate::show;
use crate::source::{self, Base, Listed, Seen, Source, UrlArguments, listed};

/// Where a repository's metadata and targets may be, below the folder that is named: as tuftool and python-tuf leave them; metadata
/// beside the folder of targets, as go-tuf leaves it; and the folder of metadata itself.
const LAYOUTS: [(&str, &[&str]); 3] =
    [("metadata", &["targets"]), ("repository", &["repository/targets"]), ("", &["targets", "../targets"])];

/// So many targets are read at once.
const AT_ONCE: usize = 16;

/// A repository that a client verified.
pub struct Found {
    /// Where it is.
    pub source: Source,
    /// As the client has it.
    pub seen: Seen,
    /// All targets that the client finds.
    pub targets: BTreeMap<TargetName, Listed>,
}

impl Found {
    /// Reads and verifies all of it.
    pub async fn at(source: Source) -> anyhow::Result<Self> {
        let seen = source.observe(None).await?;
        let mut targets = BTreeMap::new();
        for (name, target) in listed(&seen)? {
            let name: TargetName =
                name.parse().map_err(|refusal| anyhow!("a target cannot be kept under its name: {refusal}"))?;
            targets.insert(name, target);
        }
        let mut found = Self { source, seen, targets };
        found.complete().await?;
        Ok(found)
    }

    /// Here targets go by their SHA-256: of those that have none (old go-tuf wrote SHA-512 only) it is made of their bytes.
    async fn complete(&mut self) -> anyhow::Result<()> {
        let lacks = |(_, target): &(&TargetName, &Listed)| target.sha256.is_none();
        let digests = self.targets.iter().filter(lacks).map(async |(name, target)| {
            let mut file = NamedTempFile::new()?;
            let sha256 = self.source.download(&self.seen, name.as_str(), target, &mut file).await?;
            anyhow::Ok((name.clone(), sha256))
        });
        let digests: Vec<_> = stream::iter(digests.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect().await?;
        for (name, sha256) in digests {
            if let Some(target) = self.targets.get_mut(&name) {
                target.sha256 = Some(sha256);
            }
        }
        Ok(())
    }

    /// Refuses uploads that are none of its targets: they would be published without anybody having asked for it.
    pub async fn expect_no_others(&self, uploads: &dyn Uploads) -> anyhow::Result<()> {
        let mut after: Option<String> = None;
        loop {
            let page = uploads.list(after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let is_other =
                |name: &&String| name.parse().is_ok_and(|name: TargetName| !self.targets.contains_key(&name));
            for other in page.iter().filter(is_other) {
                // A bucket lists what was removed too.
                if let Head::Object(_) = uploads.head(other).await? {
                    bail!(
                        "the uploads have {other}, which the other repository doesn't: take it away, and run this again"
                    );
                }
            }
        }
    }

    /// What of it goes on here.
    pub fn old(&self) -> anyhow::Result<Old> {
        let Seen { timestamp, snapshot, roots, .. } = &self.seen;
        let oldest = roots.first_key_value().map_or(0, |(version, _)| *version);
        if oldest != 1 {
            bail!(
                "{}.root.json there is no root from which version {oldest} follows, and a repository here begins with version 1: put the root of that \
                 version there, as it was published",
                oldest.saturating_sub(1)
            );
        }
        let targets = self.targets.iter().map(|(name, target)| Ok((name.clone(), content(name, target)?)));
        Ok(Old {
            roots: roots.values().map(|bytes| bytes.clone().into()).collect(),
            used_up: UsedUp {
                timestamp: timestamp.version,
                snapshot: snapshot.version,
                targets: snapshot.roles().map(|(_, meta)| meta.version).max().unwrap_or(0),
            },
            targets: targets.collect::<anyhow::Result<_>>()?,
        })
    }
}

fn content(name: &TargetName, target: &Listed) -> anyhow::Result<Content> {
    let sha256 = target.sha256.with_context(|| format!("the target {name} has no sha256"))?;
    Ok(Content { sha256, length: target.length, custom: custom(name, target)? })
}

/// Custom metadata, which is an object here; clients take anything.
pub fn custom(name: &TargetName, target: &Listed) -> anyhow::Result<Custom> {
    match &target.custom {
        None => Ok(Custom::new()),
        Some(Value::Object(custom)) => Ok(custom.clone().into_iter().collect()),
        Some(_) => bail!(
            "the target {name} can't be kept: its custom metadata is no JSON object; publish it there again with {{\"key\": value, …}}"
        ),
    }
}

/// The repository that `from` names.
pub fn source(from: &Base, urls: &UrlArguments) -> anyhow::Result<Source> {
    match from {
        Base::Web(_) => {
            let root = urls.root.as_ref().context("a URL proves nothing: name a root that is trusted with --root")?;
            Source::at(from.clone(), urls.targets_of(from), source::read(root)?)
        }
        Base::Folder(folder) => in_folder(folder, urls),
    }
}

fn in_folder(folder: &Path, urls: &UrlArguments) -> anyhow::Result<Source> {
    let found = LAYOUTS.iter().find(|(metadata, _)| folder.join(metadata).join("timestamp.json").is_file());
    let Some((metadata, targets)) = found else {
        bail!(
            "no timestamp.json in {}, or in metadata or repository in it: name the folder of a TUF repository",
            show::path(folder)
        );
    };
    let metadata = folder.join(metadata);
    let targets = if let Some(targets) = &urls.targets {
        targets.clone()
    } else {
        let found = targets.iter().map(|targets| folder.join(targets)).find(|targets| targets.is_dir());
        Base::Folder(found.context("its folder of targets is not beside the metadata: name it with --targets")?)
    };
    let first = metadata.join("1.root.json");
    let root = source::read(urls.root.as_deref().unwrap_or(&first))?;
    Source::at(Base::Folder(metadata), targets, root)
}
