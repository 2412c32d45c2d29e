//! The repository to import: where it is, how its files are laid out, and what is taken over.

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
    Base, ClientSource, LONGEST_WALK, ListedTarget, UrlArguments, VerifiedRepository, list_targets,
    read_root,
};
use crate::terminal::complain;
use crate::text;

/// Where metadata and targets may be below the folder that the operator names: as tuftool and
/// python-tuf lay them out; as go-tuf does, with the folder of targets inside that of the metadata;
/// or the folder of metadata itself.
const LAYOUTS: [(&str, &[&str]); 3] = [
    ("metadata", &["targets"]),
    ("repository", &["repository/targets"]),
    ("", &["targets", "../targets"]),
];

/// How many files are read at once.
const AT_ONCE: usize = 16;

/// The repository to import, which a client has verified.
pub struct OtherRepository {
    pub source: ClientSource,
    /// What the client verified.
    pub seen: VerifiedRepository,
    /// All targets that the client finds.
    pub targets: BTreeMap<TargetName, ListedTarget>,
    /// The version of the trusted root, with which the new repository begins.
    first: u64,
    /// The files found there under the names of earlier roots.
    before: BTreeMap<u64, Vec<u8>>,
    /// What to say about the earlier roots.
    notes: Vec<String>,
}

impl OtherRepository {
    /// Reads and verifies the whole repository.
    pub async fn at(source: ClientSource) -> anyhow::Result<Self> {
        let seen = source.observe(None).await?;
        let first = source.trusted_version()?;
        let (before, mut notes) = read_before(&source, &seen, first).await;
        notes.extend(seen.passed_over.clone());
        let mut targets = BTreeMap::new();
        for (name, target) in list_targets(&seen)? {
            let name: TargetName = name
                .parse()
                .map_err(|refusal| anyhow!("a target cannot be kept under its name: {refusal}"))?;
            targets.insert(name, target);
        }
        let mut found = Self { source, seen, targets, first, before, notes };
        found.complete().await?;
        Ok(found)
    }

    /// Adds the SHA-256 of targets that list none (old versions of go-tuf wrote only SHA-512), from
    /// their bytes: Tufline identifies targets by it.
    async fn complete(&mut self) -> anyhow::Result<()> {
        let lacks = |(_, target): &(&TargetName, &ListedTarget)| target.sha256.is_none();
        let digests = self.targets.iter().filter(lacks).map(async |(name, target)| {
            let mut file = NamedTempFile::new()?;
            let sha256 = self.source.download(&self.seen, name.as_str(), target, &mut file).await?;
            anyhow::Ok((name.clone(), sha256))
        });
        let digests: Vec<_> = stream::iter(digests.collect::<Vec<_>>())
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        for (name, sha256) in digests {
            if let Some(target) = self.targets.get_mut(&name) {
                target.sha256 = Some(sha256);
            }
        }
        Ok(())
    }

    /// Refuses uploads that are not among the targets: they would be published though nobody asked
    /// for it.
    pub async fn expect_no_others(&self, uploads: &dyn Uploads) -> anyhow::Result<()> {
        let mut after: Option<String> = None;
        loop {
            let page = uploads.list(after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let is_other = |name: &&String| {
                name.parse().is_ok_and(|name: TargetName| !self.targets.contains_key(&name))
            };
            for other in page.iter().filter(is_other) {
                // A bucket also lists removed uploads.
                if let Head::Object(_) = uploads.head(other).await? {
                    bail!(
                        "the uploads have {other}, which the other repository doesn't have: remove \
                         it, and run this again"
                    );
                }
            }
        }
    }

    /// Warns of earlier roots that are missing or lead nowhere.
    pub fn tell_before(&self) {
        for note in &self.notes {
            complain!("tufline: {note}");
        }
    }

    /// What the new repository takes over.
    pub fn old(&self) -> anyhow::Result<Old> {
        let VerifiedRepository { timestamp, snapshot, roots, .. } = &self.seen;
        let targets =
            self.targets.iter().map(|(name, target)| Ok((name.clone(), content_of(name, target)?)));
        Ok(Old {
            roots: roots.range(self.first..).map(|(_, bytes)| bytes.clone().into()).collect(),
            before: self
                .before
                .iter()
                .map(|(version, bytes)| (*version, bytes.clone().into()))
                .collect(),
            used_up: UsedUp {
                timestamp: timestamp.version,
                snapshot: snapshot.version,
                targets: snapshot.roles().map(|(_, meta)| meta.version).max().unwrap_or(0),
            },
            targets: targets.collect::<anyhow::Result<_>>()?,
        })
    }
}

/// The roots before the trusted one, as the source has them, with warnings about those that are
/// missing or lead nowhere. The client verified only the last of them. None of these warnings stops
/// the import.
async fn read_before(
    source: &ClientSource,
    seen: &VerifiedRepository,
    first: u64,
) -> (BTreeMap<u64, Vec<u8>>, Vec<String>) {
    let mut notes = Vec::new();
    let reads = (first.saturating_sub(LONGEST_WALK).max(1)..first).map(async |version| match seen
        .roots
        .get(&version)
    {
        Some(bytes) => (version, Ok(Some(bytes.clone()))),
        None => (version, source.root_there(version).await),
    });
    let read: BTreeMap<u64, _> =
        stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).collect().await;
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
            "{last}.root.json there leads devices nowhere: {why}; devices that know no newer root \
             must get version {first} another way"
        ));
    }
    let others: Vec<String> = read
        .iter()
        .filter(|(version, bytes)| **version + 1 < leads && !matches!(bytes, Ok(Some(_))))
        .map(|(version, _)| version.to_string())
        .collect();
    if !others.is_empty() {
        notes.push(format!("these earlier roots are missing there too: {}", others.join(", ")));
    }
    (read.into_iter().filter_map(|(version, bytes)| Some((version, bytes.ok()??))).collect(), notes)
}

fn content_of(name: &TargetName, target: &ListedTarget) -> anyhow::Result<Content> {
    let sha256 = target.sha256.with_context(|| format!("the target {name} has no sha256"))?;
    Ok(Content { sha256, length: target.length, custom: custom_of(name, target)? })
}

/// A target's custom metadata. Tufline requires a JSON object; TUF clients accept any value.
pub fn custom_of(name: &TargetName, target: &ListedTarget) -> anyhow::Result<Custom> {
    match &target.custom {
        None => Ok(Custom::new()),
        Some(Value::Object(custom)) => Ok(custom.clone().into_iter().collect()),
        Some(_) => bail!(
            "the target {name} can't be kept: its custom metadata is not a JSON object; publish it \
             there again with {{\"key\": value, …}}"
        ),
    }
}

/// The repository that `from` names.
pub fn find_source(from: &Base, urls: &UrlArguments) -> anyhow::Result<ClientSource> {
    match from {
        Base::Web(_) => {
            let root = urls
                .root
                .as_ref()
                .context("a URL alone proves nothing: name a trusted root with --root")?;
            ClientSource::at(from.clone(), urls.targets_of(from), read_root(root)?)
        }
        Base::Folder(folder) => in_folder(folder, urls),
    }
}

fn in_folder(folder: &Path, urls: &UrlArguments) -> anyhow::Result<ClientSource> {
    let found =
        LAYOUTS.iter().find(|(metadata, _)| folder.join(metadata).join("timestamp.json").is_file());
    let Some((metadata, targets)) = found else {
        bail!(
            "no timestamp.json in {}, nor in metadata/ or repository/ below it: name the folder of \
             a TUF repository",
            text::path(folder)
        );
    };
    let metadata = folder.join(metadata);
    let targets =
        if let Some(targets) = &urls.targets {
            targets.clone()
        } else {
            let found =
                targets.iter().map(|targets| folder.join(targets)).find(|targets| targets.is_dir());
            Base::Folder(found.context(
                "there is no folder of targets beside the metadata: name it with --targets",
            )?)
        };
    let root = match &urls.root {
        Some(root) => read_root(root)?,
        None => first_there(&metadata)?,
    };
    ClientSource::at(Base::Folder(metadata), targets, root)
}

/// The trusted root of a folder for which none was named: its first root.
fn first_there(metadata: &Path) -> anyhow::Result<Vec<u8>> {
    let first = metadata.join("1.root.json");
    let why = |why: String| {
        anyhow!(
            "{} is not a usable first root ({why}): name a root that your devices trust, of any \
             version, with --root",
            text::path(&first)
        )
    };
    let root = given::read(&first).map_err(|error| why(error.to_string()))?;
    TrustedRoot::begin(&root).map_err(|error| why(error.to_string()))?;
    Ok(root)
}
