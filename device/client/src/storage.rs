//! What a device keeps from one update to the next.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt::Display;

use crate::error::{Error, Result};

/// The names of the top-level documents, as all clients store them.
pub(crate) const ROOT: &str = "root.json";
pub(crate) const TIMESTAMP: &str = "timestamp.json";
pub(crate) const SNAPSHOT: &str = "snapshot.json";

/// What a device keeps from one update to the next, by name.
///
/// The names are those of files: of letters, digits and `-._~%`, at most 205 bytes long, and never `.` or `..`. What is stored is byte for byte what the
/// server answered.
pub trait Storage {
    /// Why it failed.
    type Error: Display;

    /// What is stored under this name; at most this many bytes of it are needed, and what is longer may count as not there.
    ///
    /// # Errors
    /// The storage's own. A file that isn't there is none.
    fn read(&self, name: &str, most: usize) -> core::result::Result<Option<Vec<u8>>, Self::Error>;

    /// Stores this. *Promise*: when it returns it is there for good; and if the power goes before, what was there under this name is, or this is, whole.
    ///
    /// # Errors
    /// The storage's own.
    fn write(&mut self, name: &str, bytes: &[u8]) -> core::result::Result<(), Self::Error>;

    /// Removes what is stored under this name, if there is anything; for good, when it returns.
    ///
    /// # Errors
    /// The storage's own.
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

/// A storage whose errors say what was to be done, and with what.
pub(crate) struct Stored<'s, S>(pub &'s mut S);

impl<S: Storage> Stored<'_, S> {
    pub fn read(&self, name: &str, most: usize) -> Result<Option<Vec<u8>>, S::Error> {
        self.0.read(name, most).map_err(|error| Error::Storage { action: "read", file: name.to_owned(), error })
    }

    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), S::Error> {
        self.0.write(name, bytes).map_err(|error| Error::Storage { action: "stored", file: name.to_owned(), error })
    }

    pub fn remove(&mut self, name: &str) -> Result<(), S::Error> {
        self.0.remove(name).map_err(|error| Error::Storage { action: "removed", file: name.to_owned(), error })
    }
}

/// A storage that forgets everything with the process: for what lives for one update, and for tests.
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
