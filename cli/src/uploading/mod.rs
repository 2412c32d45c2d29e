//! Puts files where the pipeline finds them, for `tufline upload`, `import`, `demo` and `doctor
//! --try`.

mod folder;
mod plan;
mod s3;
mod transfer;

pub use folder::put_in_folder;
pub use plan::{PlannedUpload, ascii_custom, plan_uploads};
pub use s3::UploadsBucket;
pub use transfer::put_upload;
