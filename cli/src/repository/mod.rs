//! The repository that a command works on, in a folder or on AWS: its arguments, and access to its
//! parts.
//!
//! Commands flatten [`EndpointsArguments`], or [`RepositoryArguments`] if the user may also name a
//! data folder, and open a [`Repository`].

mod arguments;
mod aws;
pub mod config_file;
mod endpoints;
mod first_generation;
mod folder;
mod location;
mod opened;
pub mod request;
mod uploader;

pub use arguments::{EndpointsArguments, RepositoryArguments};
pub use aws::AwsRepository;
pub use endpoints::{FolderEndpoints, PublicEndpoints};
pub use first_generation::wait_for_first_generation;
pub use folder::{
    FolderRepository, IdleFolder, TRUSTED_ROOT, configured, folder_store, import_marker,
    waits_for_root,
};
pub use location::{AwsLocation, Location};
pub use opened::Repository;
pub use request::Request;
pub use uploader::UploaderView;
