//! Where the other repository is, and how its files lie there.

use std::path::Path;

use anyhow::{Context, bail};
use url::Url;

use crate::source::{self, Source, UrlArguments};

/// Where a repository's metadata and targets may be, below the folder that is named: as tuftool and python-tuf leave them; metadata
/// beside the folder of targets, as go-tuf leaves it; and the folder of metadata itself.
const LAYOUTS: [(&str, &[&str]); 3] =
    [("metadata", &["targets"]), ("repository", &["repository/targets"]), ("", &["targets", "../targets"])];

/// The repository that `from` names.
pub fn source(from: &str, urls: &UrlArguments) -> anyhow::Result<Source> {
    match from.parse::<Url>() {
        Ok(url) if ["http", "https", "file"].contains(&url.scheme()) => {
            let url = source::folder(url);
            let targets = urls.targets.clone().map_or_else(|| url.join("../targets/"), Ok);
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
