//! A repository as an uploader sees it.

use std::sync::Arc;

use tufline_store::{Store, Uploads};

use super::opened::Repository;

/// The parts of a repository that an uploader sees. On AWS an uploader may read little of the
/// ledger and list none of it, and may list only uploads below its prefix; what it may not read
/// counts as missing. In a folder it sees everything.
pub struct UploaderView {
    /// The repository and the ledger.
    pub store: Arc<dyn Store>,
    pub uploads: Arc<dyn Uploads>,
}

impl UploaderView {
    pub fn of(repository: &Repository) -> anyhow::Result<Self> {
        Ok(match repository {
            Repository::Folder(folder) => {
                Self { store: folder.store()?, uploads: Arc::new(folder.uploads()?) }
            }
            Repository::Aws(aws) => Self {
                // Without verified roots: an uploader doesn't need roots.
                store: Arc::new(aws.resources.store(&aws.clients)?.forbidden_is_missing()),
                uploads: Arc::new(aws.resources.uploads(&aws.clients)?.listing_tells()),
            },
        })
    }
}
