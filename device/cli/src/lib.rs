//! A blocking TUF client for devices: `tufline-client` over HTTP, with a folder as its storage.
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
//! *Invariants*: a file under its final name is verified and durable. If the process is killed or
//! the power fails at any moment, the next process continues from there.

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
