//! A blocking TUF client for devices: `tufline-client` over HTTP, with a folder as its storage.
//!
//! ```
//! use tufline_device::{Device, Settings};
//!
//! # use std::io::{BufRead, BufReader, Write};
//! # let folder = tempfile::tempdir()?;
//! # let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/metadata/example");
//! # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let (config, out) = (folder.path().join("device.toml"), folder.path().join("firmware.bin"));
//! # std::fs::write(
//! #     &config,
//! #     format!(
//! #         "metadata-url = 'http://{}/metadata'\nroot = '{example}/1.root.json'\n\
//! #          metadata-dir = '{}'",
//! #         server.local_addr()?,
//! #         folder.path().join("metadata").display(),
//! #     ),
//! # )?;
//! # std::thread::spawn(move || {
//! #     for mut stream in server.incoming().map_while(Result::ok) {
//! #         let lines = BufReader::new(&stream).lines().map_while(Result::ok);
//! #         let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
//! #         let path = lines[0].split(' ').nth(1).unwrap_or_default();
//! #         let is_target = path.starts_with("/targets/");
//! #         let name = if is_target { "firmware.bin" } else { path.rsplit('/').next().unwrap() };
//! #         let (status, bytes) = match std::fs::read(format!("{example}/{name}")) {
//! #             Ok(bytes) => ("200 OK", bytes),
//! #             Err(_) => ("404 Not Found", Vec::new()),
//! #         };
//! #         let length = bytes.len();
//! #         let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n");
//! #         let _ = stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes());
//! #         let _ = stream.write_all(&bytes);
//! #     }
//! # });
//! // The settings name the repository, the root that came with the device, and a folder.
//! let mut device = Device::open(Settings::read(&config)?)?;
//! device.refresh()?;
//! let found = device.find("gateway/firmware.bin")?.ok_or("there is no such target")?;
//! device.fetch(&found, &out)?;
//! assert_eq!(std::fs::read(&out)?, b"firmware 2.0.1\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
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
