//! A TUF client for devices, which blocks: the core of `tufline-client` over HTTP and a folder.
//!
//! ```no_run
//! # fn main() -> Result<(), tufline_device::Failure> {
//! use tufline_device::{Device, Settings};
//!
//! let settings = Settings::read("/etc/tufline-device.toml".as_ref())?;
//! let mut device = Device::open(settings)?;
//! device.refresh()?;
//! if let Some(found) = device.find("gateway/v2/firmware.bin")? {
//!     device.fetch(&found, "/data/firmware.bin".as_ref())?;
//! }
//! # Ok(()) }
//! ```
//!
//! *Invariants*: what a file has under its own name was verified, and is on disk for good. Whatever moment the process is killed at or the power goes
//! at, the next one goes on.

mod command;
mod device;
mod difference;
mod documents;
mod durable;
mod failure;
mod fetch;
mod folder;
mod http;
mod identity;
mod keys;
mod location;
mod part;
mod patience;
mod run;
mod seed;
mod settings;
mod signature;
mod wanted;
mod window;

pub use device::Device;
pub use failure::{Failure, NetworkFailure};
pub use fetch::FetchedTarget;
pub use folder::Folder;
pub use run::{Ran, RunSettings, Window, run};
pub use settings::{Identity, Settings};
pub use tufline_client::{FoundTarget, file_name};
