//! The commands, each in a module of its own. What several of them share is in the modules beside
//! this one.

pub mod accept_removals;
pub mod chunk;
pub mod delegation;
pub mod demo;
pub mod doctor;
pub mod import;
pub mod init;
pub mod key;
pub mod local;
pub mod mirror;
pub mod reconcile;
pub mod root;
pub mod serve;
pub mod status;
pub mod targets;
pub mod upload;
pub mod wait;
