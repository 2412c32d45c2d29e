//! Files that are there for good when a call returns, and whole at any moment.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a file in one step: whenever the power goes, what was there is there still, or this is, whole.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = with_suffix(path, ".new");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    rename(&unfinished, path)
}

/// Opens a file for reading and writing; where there is none, it is there for good then, and empty.
pub fn create_or_open(path: &Path) -> io::Result<File> {
    let mut open = OpenOptions::new();
    open.read(true).write(true);
    match open.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = open.create(true).truncate(false).open(path)?;
            sync_folder_of(path)?;
            Ok(file)
        }
        opened => opened,
    }
}

/// Moves a file that is on disk already into its place, for good.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder_of(to)
}

/// Makes a folder, and those in which it is, for good.
pub fn create_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => sync_folder_of(path),
        Err(_) if path.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_folder(folder_of(path))?;
            fs::create_dir(path)?;
            sync_folder_of(path)
        }
        Err(error) => Err(error),
    }
}

/// Removes a file, for good; one that isn't there is removed.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A path with this at its end.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// What a rename did is on disk when its folder is (fsync(2), "NOTES").
fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
