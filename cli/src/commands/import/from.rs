//! The other repository: where it is, how its files lie there, and what of it goes on here.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tempfile::NamedTempFile;
use tufline_folder::given;
use tufline_metadata::TrustedRoot;
use tufline_pipeline::operations::import::Old;
use tufline_store::{Head, Uploads};
use tufline_tuf::generation::UsedUp;
use tufline_tuf::{Content, Custom, TargetName};

use crate::failure::one_line;
use crate::source::{
    Base, ClientSource, LONGEST_WALK, ListedTarget, UrlArguments, VerifiedRepository, list_targets, read_root,
};
use crate::terminal::complain;
use crate::text;

/// Where a repository's metadata and targets may be, below the folder that is named: as tuftool and python-tuf leave them; metadata
/// beside the folder of targets, as go-tuf leaves it; and the folder of metadata itself.
const LAYOUTS: [(&str, &[&str]); 3] =
    [("metadata", &["targets"]), ("repository", &["repository/targets"]), ("", &["targets", "../targets"])];

/// So many targets are read at once.
const AT_ONCE: usize = 16;

/// A repository that a client verified.
pub struct OtherRepository {
    /// Where it is.
    pub source: ClientSource,
    /// As the client has it.
    pub seen: VerifiedRepository,
    /// All targets that the client finds.
    pub targets: BTreeMap<TargetName, ListedTarget>,
    /// The version of the root that is trusted, with which the new repository begins.
    first: u64,
    /// What lies there in the places of the roots before.
    before: BTreeMap<u64, Vec<u8>>,
    /// What to tell of these.
    notes: Vec<String>,
}

impl OtherRepository {
    /// Reads and verifies all of it.
    pub async fn at(source: ClientSource) -> anyhow::Result<Self> {
        let seen = source.observe(None).await?;
        let first = source.trusted_version()?;
        let (before, mut notes) = read_before(&source, &seen, first).await;
        notes.extend(seen.passed_over.clone());
        let mut targets = BTreeMap::new();
        for (name, target) in list_targets(&seen)? {
            let name: TargetName =
                name.parse().map_err(|refusal| anyhow!("a target cannot be kept under its name: {refusal}"))?;
            targets.insert(name, target);
        }
        let mut found = Self { source, seen, targets, first, before, notes };
        found.complete().await?;
        Ok(found)
    }

    /// Here targets go by their SHA-256: of those that have none (old go-tuf wrote SHA-512 only) it is made of their bytes.
    async fn complete(&mut self) -> anyhow::Result<()> {
        let lacks = |(_, target): &(&TargetName, &ListedTarget)| target.sha256.is_none();
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

    /// Tells of the roots before that are missing, or lead nowhere.
    pub fn tell_before(&self) {
        for note in &self.notes {
            complain!("tufline: {note}");
        }
    }

    /// What of it goes on here.
    pub fn old(&self) -> anyhow::Result<Old> {
        let VerifiedRepository { timestamp, snapshot, roots, .. } = &self.seen;
        let targets = self.targets.iter().map(|(name, target)| Ok((name.clone(), content_of(name, target)?)));
        Ok(Old {
            roots: roots.range(self.first..).map(|(_, bytes)| bytes.clone().into()).collect(),
            before: self.before.iter().map(|(version, bytes)| (*version, bytes.clone().into())).collect(),
            used_up: UsedUp {
                timestamp: timestamp.version,
                snapshot: snapshot.version,
                targets: snapshot.roles().map(|(_, meta)| meta.version).max().unwrap_or(0),
            },
            targets: targets.collect::<anyhow::Result<_>>()?,
        })
    }
}

/// The roots before the one that is trusted, as they are there: the client verified the last of them, and nobody the others. With what is to be told of
/// those that are missing or lead nowhere, which keeps nothing from being taken over.
async fn read_before(
    source: &ClientSource,
    seen: &VerifiedRepository,
    first: u64,
) -> (BTreeMap<u64, Vec<u8>>, Vec<String>) {
    let mut notes = Vec::new();
    let reads =
        (first.saturating_sub(LONGEST_WALK).max(1)..first).map(async |version| match seen.roots.get(&version) {
            Some(bytes) => (version, Ok(Some(bytes.clone()))),
            None => (version, source.root_there(version).await),
        });
    let read: BTreeMap<u64, _> = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).collect().await;
    let leads = seen.roots.first_key_value().map_or(first, |(version, _)| *version);
    if let Some(last) = leads.checked_sub(1).filter(|last| *last > 0) {
        let why = match read.get(&last) {
            Some(Ok(Some(bytes))) => match TrustedRoot::begin(bytes) {
                Ok(_) => format!("version {leads} does not follow from it"),
                Err(error) => error.to_string(),
            },
            Some(Err(error)) => one_line(error),
            Some(Ok(None)) | None => "it is missing".into(),
        };
        notes.push(format!(
            "{last}.root.json there leads no device on: {why}; devices that know no newer root need version {first} by another way"
        ));
    }
    let others: Vec<String> = read
        .iter()
        .filter(|(version, bytes)| **version + 1 < leads && !matches!(bytes, Ok(Some(_))))
        .map(|(version, _)| version.to_string())
        .collect();
    if !others.is_empty() {
        notes.push(format!("missing there too, of the roots before: {}", others.join(", ")));
    }
    (read.into_iter().filter_map(|(version, bytes)| Some((version, bytes.ok()??))).collect(), notes)
}

fn content_of(name: &TargetName, target: &ListedTarget) -> anyhow::Result<Content> {
    let sha256 = target.sha256.with_context(|| format!("the target {name} has no sha256"))?;
    Ok(Content { sha256, length: target.length, custom: custom_of(name, target)? })
}

/// Custom metadata, which is an object here; clients take anything.
pub fn custom_of(name: &TargetName, target: &ListedTarget) -> anyhow::Result<Custom> {
    match &target.custom {
        None => Ok(Custom::new()),
        Some(Value::Object(custom)) => Ok(custom.clone().into_iter().collect()),
        Some(_) => bail!(
            "the target {name} can't be kept: its custom metadata is no JSON object; publish it there again with {{\"key\": value, …}}"
        ),
    }
}

/// The repository that `from` names.
pub fn find_source(from: &Base, urls: &UrlArguments) -> anyhow::Result<ClientSource> {
    match from {
        Base::Web(_) => {
            let root = urls.root.as_ref().context("a URL proves nothing: name a root that is trusted with --root")?;
            ClientSource::at(from.clone(), urls.targets_of(from), read_root(root)?)
        }
        Base::Folder(folder) => in_folder(folder, urls),
    }
}

fn in_folder(folder: &Path, urls: &UrlArguments) -> anyhow::Result<ClientSource> {
    let found = LAYOUTS.iter().find(|(metadata, _)| folder.join(metadata).join("timestamp.json").is_file());
    let Some((metadata, targets)) = found else {
        bail!(
            "no timestamp.json in {}, or in metadata or repository in it: name the folder of a TUF repository",
            text::path(folder)
        );
    };
    let metadata = folder.join(metadata);
    let targets = if let Some(targets) = &urls.targets {
        targets.clone()
    } else {
        let found = targets.iter().map(|targets| folder.join(targets)).find(|targets| targets.is_dir());
        Base::Folder(found.context("its folder of targets is not beside the metadata: name it with --targets")?)
    };
    let root = match &urls.root {
        Some(root) => read_root(root)?,
        None => first_there(&metadata)?,
    };
    ClientSource::at(Base::Folder(metadata), targets, root)
}

/// What is trusted in a folder where nobody says what: its first root.
fn first_there(metadata: &Path) -> anyhow::Result<Vec<u8>> {
    let first = metadata.join("1.root.json");
    let why = |why: String| {
        anyhow!(
            "{} is not a root to begin with ({why}): name one that your devices trust with --root, of any version",
            text::path(&first)
        )
    };
    let root = given::read(&first).map_err(|error| why(error.to_string()))?;
    TrustedRoot::begin(&root).map_err(|error| why(error.to_string()))?;
    Ok(root)
}
