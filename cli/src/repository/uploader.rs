//! A repository as an uploader has it.

use std::sync::Arc;

use tufline_store::{Store, Uploads};

use super::opened::Repository;

/// What an uploader has of a repository, who on AWS may read little of the ledger and list nothing of it, and may list uploads below its prefix
/// only: what may not be read counts as missing. In a folder that is all of it.
pub struct UploaderView {
    /// The repository and the ledger.
    pub store: Arc<dyn Store>,
    /// What build systems dropped.
    pub uploads: Arc<dyn Uploads>,
}

impl UploaderView {
    /// That of a repository.
    pub fn of(repository: &Repository) -> anyhow::Result<Self> {
        Ok(match repository {
            Repository::Folder(folder) => Self { store: folder.store()?, uploads: Arc::new(folder.uploads()?) },
            Repository::Aws(aws) => Self {
                // Roots are none of its affair.
                store: Arc::new(aws.resources.store(&aws.clients)?.forbidden_is_missing()),
                uploads: Arc::new(aws.resources.uploads(&aws.clients)?.listing_tells()),
            },
        })
    }
}
