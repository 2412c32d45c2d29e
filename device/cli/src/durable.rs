//! Durable files: when a function returns, its change survives a power failure, and at any moment a
//! file is whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a file in one step. If the power fails, either the old file is there or the new one,
/// whole.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = with_suffix(path, ".new");
    let written = File::create(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        // On a full disk nothing of it must stay.
        _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    rename(&unfinished, path)
}

/// Opens a file for reading and writing. If there is none, creates an empty one durably.
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

/// Moves a file, which is on disk already, into its place.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder_of(to)
}

/// Creates a folder and the folders around it.
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

/// Removes a file. A missing file is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Appends `suffix` to the last name of a path.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Syncs the folder of `path`. A rename is on disk only when its folder is (fsync(2), "NOTES").
fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
