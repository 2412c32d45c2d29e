//! Uploads to either form of a repository.

use indicatif::ProgressBar;
use tufline_tuf::Sha256;

use super::folder::put_in_folder;
use super::plan::PlannedUpload;
use super::s3::UploadsBucket;
use crate::repository::Repository;

/// Uploads a file; returns its digest. `custom` must be ASCII.
pub async fn put_upload(
    repository: &Repository,
    planned: &PlannedUpload,
    custom: Option<&str>,
    bar: &ProgressBar,
) -> anyhow::Result<Sha256> {
    match repository {
        Repository::Folder(folder) => {
            let (planned, uploads) = (planned.clone(), folder.endpoints()?.uploads.clone());
            let (custom, bar) = (custom.map(str::to_owned), bar.clone());
            let copying = move || put_in_folder(&planned, &uploads, custom.as_deref(), &bar);
            tokio::task::spawn_blocking(copying).await?
        }
        Repository::Aws(aws) => UploadsBucket::of(aws)?.put(planned, custom, bar).await,
    }
}
