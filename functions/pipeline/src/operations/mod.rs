//! What people do with a repository now and then: initialise it, publish a root, replace a key,
//! sign `targets`, delegate, or import another repository.

pub mod delegation;
pub mod import;
pub mod init;
pub mod offline_targets;
pub mod publish_root;
pub mod rotation;
