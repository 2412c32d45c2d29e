//! The other repository: where it is, how its files lie there, and what of it goes on here.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use tufline_functions::import::Old;
use tufline_store::{Head, Uploads};
use tufline_tuf::generation::UsedUp;
use tufline_tuf::{Content, TargetName};
use url::Url;

use crate::source::{self, Listed, Seen, Source, UrlArguments, listed};

/// Where a repository's metadata and targets may be, below the folder that is named: as tuftool and python-tuf leave them; metadata
/// beside the folder of targets, as go-tuf leaves it; and the folder of metadata itself.
const LAYOUTS: [(&str, &[&str]); 3] =
    [("metadata", &["targets"]), ("repository", &["repository/targets"]), ("", &["targets", "../targets"])];

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
        let targets = listed(&seen.repository)?;
        Ok(Self { source, seen, targets })
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
        let repository = &self.seen.repository;
        let root = |version: u64| {
            let bytes = self.seen.roots.get(&version).cloned();
            bytes.map(Into::into).with_context(|| format!("version {version} of the root was not read"))
        };
        let newest = repository.root().signed.version.get();
        let snapshot = &repository.snapshot().signed;
        let highest = snapshot.meta.values().map(|meta| meta.version.get()).max().unwrap_or(0);
        let content =
            |target: &Listed| Content { sha256: target.sha256, length: target.length, custom: target.custom.clone() };
        Ok(Old {
            roots: (1..=newest).map(root).collect::<anyhow::Result<_>>()?,
            used_up: UsedUp {
                timestamp: repository.timestamp().signed.version.get(),
                snapshot: snapshot.version.get(),
                targets: highest,
            },
            targets: self.targets.iter().map(|(name, target)| (name.clone(), content(target))).collect(),
        })
    }
}

/// The repository that `from` names.
pub fn source(from: &str, urls: &UrlArguments) -> anyhow::Result<Source> {
    match from.parse::<Url>() {
        Ok(url) if ["http", "https", "file"].contains(&url.scheme()) => {
            let targets = urls.targets_of(&url);
            let root = urls.root.as_ref().context("a URL proves nothing: name a root that is trusted with --root")?;
            Source::at(url, targets.context("its targets need --targets")?, source::read(root)?)
        }
        _ => in_folder(&std::path::absolute(from)?, urls),
    }
}

fn in_folder(folder: &Path, urls: &UrlArguments) -> anyhow::Result<Source> {
    let found = LAYOUTS.iter().find(|(metadata, _)| folder.join(metadata).join("timestamp.json").is_file());
    let Some((metadata, targets)) = found else {
        bail!(
            "no timestamp.json in {0}, {0}/metadata or {0}/repository: name the folder of a TUF repository",
            folder.display()
        );
    };
    let metadata = folder.join(metadata);
    let targets = if let Some(targets) = &urls.targets {
        targets.clone()
    } else {
        let found = targets.iter().map(|targets| folder.join(targets)).find(|targets| targets.is_dir());
        url(&found.context("its folder of targets is not beside the metadata: name it with --targets")?)?
    };
    let first = metadata.join("1.root.json");
    let root = source::read(urls.root.as_deref().unwrap_or(&first))?;
    Source::at(url(&metadata)?, targets, root)
}

fn url(folder: &Path) -> anyhow::Result<Url> {
    let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
    match Url::from_directory_path(&folder) {
        Ok(url) => Ok(url),
        Err(()) => bail!("{} has no URL", folder.display()),
    }
}
