//! The storage that a device keeps from one update to the next.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt::Display;

use crate::error::{Error, Result};

/// The names of the top-level documents, the same as in other TUF clients.
pub(crate) const ROOT: &str = "root.json";
pub(crate) const TIMESTAMP: &str = "timestamp.json";
pub(crate) const SNAPSHOT: &str = "snapshot.json";

/// A device's storage of files, by name, from one update to the next.
///
/// Names are valid names of files: they consist of letters, digits and `-._~%`, have at most 205
/// bytes, and are never `.` or `..`. Files are stored byte for byte as the server sent them.
pub trait Storage {
    /// The storage's own error.
    type Error: Display;

    /// Reads the file `name`; `None` if there is none. The caller needs at most `most` bytes: an
    /// implementation may return `None` for a longer file.
    ///
    /// # Errors
    /// The storage's own error. A missing file is no error.
    fn read(&self, name: &str, most: usize) -> core::result::Result<Option<Vec<u8>>, Self::Error>;

    /// Stores `bytes` as the file `name`. *Promise*: when this returns, the file is durable. If the
    /// power fails before that, the storage holds either the old file or the new one, whole.
    ///
    /// # Errors
    /// The storage's own error.
    fn write(&mut self, name: &str, bytes: &[u8]) -> core::result::Result<(), Self::Error>;

    /// Removes the file `name`, if there is one. When this returns, the removal is durable.
    ///
    /// # Errors
    /// The storage's own error.
    fn remove(&mut self, name: &str) -> core::result::Result<(), Self::Error>;
}

impl<S: Storage> Storage for &mut S {
    type Error = S::Error;

    fn read(&self, name: &str, most: usize) -> core::result::Result<Option<Vec<u8>>, Self::Error> {
        (**self).read(name, most)
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> core::result::Result<(), Self::Error> {
        (**self).write(name, bytes)
    }

    fn remove(&mut self, name: &str) -> core::result::Result<(), Self::Error> {
        (**self).remove(name)
    }
}

/// A storage whose errors say which file it failed to read, store or remove.
pub(crate) struct Stored<'s, S>(pub &'s mut S);

impl<S: Storage> Stored<'_, S> {
    pub fn read(&self, name: &str, most: usize) -> Result<Option<Vec<u8>>, S::Error> {
        self.0.read(name, most).map_err(|error| Error::Storage {
            action: "read",
            file: name.to_owned(),
            error,
        })
    }

    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), S::Error> {
        self.0.write(name, bytes).map_err(|error| Error::Storage {
            action: "stored",
            file: name.to_owned(),
            error,
        })
    }

    pub fn remove(&mut self, name: &str) -> Result<(), S::Error> {
        self.0.remove(name).map_err(|error| Error::Storage {
            action: "removed",
            file: name.to_owned(),
            error,
        })
    }
}

/// A storage in memory, which forgets everything when the process ends: for one-off updates and for
/// tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStorage(pub BTreeMap<String, Vec<u8>>);

impl Storage for MemoryStorage {
    type Error = Infallible;

    fn read(&self, name: &str, _: usize) -> core::result::Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(name).cloned())
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> core::result::Result<(), Infallible> {
        self.0.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&mut self, name: &str) -> core::result::Result<(), Infallible> {
        self.0.remove(name);
        Ok(())
    }
}
