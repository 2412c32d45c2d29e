//! A device's storage in a folder.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tufline_client::Storage;

use crate::durable;

/// A folder with one file for each document.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Opens the folder, and creates it if it is missing.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path) -> io::Result<Self> {
        durable::create_folder(path)?;
        Ok(Self(path.to_owned()))
    }

    /// Waits until no other process updates in this folder, and makes others wait as long as the
    /// returned file lives.
    pub(crate) fn lock(&self) -> io::Result<File> {
        let file = File::create(self.0.join("lock"))?;
        file.lock()?;
        Ok(file)
    }
}

impl Storage for Folder {
    type Error = io::Error;

    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.0.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take((most as u64).saturating_add(1)).read_to_end(&mut bytes)?;
        Ok((bytes.len() <= most).then_some(bytes))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        durable::write(&self.0.join(name), bytes)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        durable::remove(&self.0.join(name))
    }
}
