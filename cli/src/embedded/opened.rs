//! The repository in a data folder: its ports, and what the first start makes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use tufline_folder::given;
use tufline_folder::{
    DataFolder, FileEvents, FileSigner, FolderBlobs, FolderChunks, FolderUploads, KeyFile,
    LocalQueues,
};
use tufline_pipeline::Deadline;
use tufline_pipeline::Ports;
use tufline_pipeline::ReadingMemory;
use tufline_pipeline::StageError;
use tufline_pipeline::operations::init;
use tufline_pipeline::stages::Shown;
use tufline_pipeline::stages::publish;
use tufline_pipeline::stages::sign;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::roots;
use tufline_store::{Blobs, CachedStore, DELIVERIES, Key, SystemClock};
use tufline_tuf::generation::FirstBins;

use super::cutting::{Cutting, ToldBlobs, ToldEvents};
use super::news::News;
use crate::files;
use crate::repository::{TRUSTED_ROOT, config_file, folder_store, import_marker, waits_for_root};
use crate::text::Quoted;

/// The size of the cache of immutable files, in bytes: a stage reads what the one before it wrote.
const MOST_KEPT: u64 = 64 * 1024 * 1024;

/// A repository that is open, but not running yet.
pub struct LocalRepository {
    /// The data folder. It stays locked as long as this value lives.
    pub data: DataFolder,
    /// The files that build systems drop.
    pub uploads: FolderUploads,
    /// The documents that delegated parties drop.
    pub deliveries: FolderUploads,
    /// The queues between the stages.
    pub queues: LocalQueues,
    /// All ports, as the stages use them.
    pub ports: Ports,
    /// The chunks of targets.
    pub chunks: FolderChunks,
    /// Cuts targets into chunks, if the configuration says so.
    pub cutting: Option<Arc<Cutting>>,
    /// The path of the events file.
    pub events: PathBuf,
    /// Whether this is the first start, which made the keys.
    pub is_new: bool,
}

impl LocalRepository {
    /// Opens the data folder at `data`, and creates it if it is missing. `uploads` defaults to
    /// `DATA/uploads`.
    pub async fn open(data: &Path, uploads: Option<&Path>) -> anyhow::Result<Self> {
        if import_marker(data).exists() {
            bail!(
                "an import into {0} is not finished: run `tufline import` again, or remove {0} and \
                 start over",
                data.quoted()
            );
        }
        Self::open_for_import(data, uploads).await
    }

    /// Like [`open`](Self::open), but allows a folder into which an import is in progress.
    pub async fn open_for_import(data: &Path, uploads: Option<&Path>) -> anyhow::Result<Self> {
        let data = DataFolder::lock(data)?;
        let config = Arc::new(config_file::read(&config_file::path(data.path()))?);
        let uploads = uploads.map_or_else(|| data.path().join("uploads"), Path::to_owned);
        if !FolderUploads::is_recorded(&data) {
            std::fs::create_dir_all(&uploads)
                .with_context(|| format!("cannot make {}", uploads.quoted()))?;
        }
        // A folder that is missing because it is not mounted yet is checked once it is there.
        if uploads.exists() {
            check_apart(data.path(), &uploads)?;
        }
        let clock = Arc::new(SystemClock);
        let uploads = FolderUploads::open(&data, uploads, clock.clone())?;
        let deliveries =
            FolderUploads::beside(&data, DELIVERIES.trim_end_matches('/'), clock.clone())?;
        let store = folder_store(&data, &config);
        let is_new = roots::first(&*store).await?.is_none();
        if is_new && waits_for_root(data.path()) {
            bail!(
                "{0} waits for its first root: publish it with `tufline root publish FILE --data \
                 {0}`, or remove {0}/root-ceremony for a development root",
                data.path().quoted()
            );
        }
        // It makes keys only before there is a root: devices would not trust a new key in place of
        // a lost one.
        let signer = if is_new {
            FileSigner::generate(&data.keys())?
        } else {
            FileSigner::open(&data.keys())?
        };
        let events = FileEvents::open(&data, clock.clone())?;
        let (events_path, queues) = (events.path().to_owned(), LocalQueues::new());
        let (stored, chunks) =
            (Arc::new(FolderBlobs::new(&data, &uploads)), FolderChunks::new(&data));
        let cutting =
            config.chunks.then(|| Cutting::new(stored.clone(), chunks.clone(), clock.clone()));
        let blobs: Arc<dyn Blobs> = match &cutting {
            Some(cutting) => Arc::new(ToldBlobs::new(stored, cutting)),
            None => stored,
        };
        let ports = Ports {
            store: Arc::new(CachedStore::new(store, MOST_KEPT)),
            uploads: Arc::new(uploads.clone()),
            deliveries: Arc::new(deliveries.clone()),
            blobs,
            queues: Arc::new(queues.clone()),
            signer: Arc::new(signer),
            events: match &cutting {
                Some(cutting) => Arc::new(ToldEvents::new(News(events), cutting)),
                None => Arc::new(News(events)),
            },
            clock,
            config,
            reading: ReadingMemory::default(),
            deadline: Deadline::never(),
        };
        Ok(Self {
            data,
            uploads,
            deliveries,
            queues,
            ports,
            chunks,
            cutting,
            events: events_path,
            is_new,
        })
    }

    /// Publishes the first generation with `bins` unless one is published, and writes the trusted
    /// root to `DATA/root.json`; returns its path. After a crash the next start continues.
    pub async fn begin(&self, bins: FirstBins) -> anyhow::Result<PathBuf> {
        let ports = &self.ports;
        if let Some(published) = ledger::published(&*ports.store).await? {
            // Fail here, once: otherwise every stage would log it for ever.
            if let Err(error @ StageError::Record(..)) =
                ledger::manifest(&*ports.store, published.generation).await
            {
                return Err(error.into());
            }
        } else {
            if roots::first(&*ports.store).await?.is_some() {
                // People published this root, or a start that was killed did.
                init::first_generation(ports, bins).await?;
            } else {
                let root_key = KeyFile::generate(&self.data.keys().join("root.pem"))?;
                init::init(ports, &root_key, bins).await?;
            }
            sign(ports).await?;
            if let Shown::AlreadyNewest(None) = publish(ports).await? {
                bail!("the first generation cannot be published; the log says why");
            }
        }
        let missing = || format!("{} is missing: restore it", Key::root(ports.store.first_root()));
        let first = roots::first(&*ports.store).await?.with_context(missing)?;
        let path = self.data.path().join(TRUSTED_ROOT);
        if given::read(&path).ok().as_deref() != Some(&*first.bytes) {
            files::write(&path, &first.bytes)?;
        }
        Ok(path)
    }
}

/// Refuses an uploads folder that contains the data folder, since that would publish the private
/// keys, or that lies in one of its internal folders.
pub fn check_apart(data: &Path, uploads: &Path) -> anyhow::Result<()> {
    let real =
        |path: &Path| path.canonicalize().with_context(|| format!("cannot find {}", path.quoted()));
    let (data, uploads) = (real(data)?, real(uploads)?);
    // A path with a segment that begins with a dot is never an upload.
    let hidden =
        |path: &Path| path.iter().any(|segment| segment.as_encoded_bytes().starts_with(b"."));
    let publishes_data = data.strip_prefix(&uploads).is_ok_and(|below| !hidden(below));
    let own = ["repository", "ledger", "keys", "tmp"].map(|folder| data.join(folder));
    if publishes_data || own.iter().any(|own| uploads.starts_with(own)) {
        bail!(
            "the data folder {} would lie in the uploads folder, or the uploads in one of its \
             internal folders: choose another folder with --uploads",
            data.quoted()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_keys_are_never_among_the_uploads() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in [
            "data/keys",
            "data/uploads",
            "data/repository/metadata",
            "a/.data",
            ".tufline",
            "elsewhere",
        ] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        for (data, uploads, apart) in [
            ("data", "data/uploads", true),
            ("data", "elsewhere", true),
            ("data", "data", false),
            ("data", "", false),
            ("data", "data/keys", false),
            ("data", "data/repository/metadata", false),
            ("a/.data", "a", true),
            (".tufline", "", true),
            (".tufline", ".tufline", false),
        ] {
            assert_eq!(check_apart(&path(data), &path(uploads)).is_ok(), apart, "{data} {uploads}");
        }
    }
}
