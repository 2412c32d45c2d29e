//! What people do with a repository now and then: begin it, publish a root, replace a key, sign `targets`, delegate, take another repository over.

pub mod delegation;
pub mod import;
pub mod init;
pub mod offline_targets;
pub mod publish_root;
pub mod rotation;
