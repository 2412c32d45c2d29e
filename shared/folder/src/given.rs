//! Opens files that people name, or put where the program looks for one.
//!
//! *Invariant*: it never waits for something that may never come. It opens a pipe without waiting
//! for a writer (<https://man7.org/linux/man-pages/man7/fifo.7.html>), and reads it only while a
//! process has it open for writing, as with `<(command)` in a shell
//! (<https://www.gnu.org/software/bash/manual/html_node/Process-Substitution.html>). People pass
//! secrets in this way, which should not be in a file.

use std::fs::{File, FileType, Metadata};
use std::io::{self, Cursor, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

/// The largest document, in bytes: far more than any role's document may have.
const MOST: u64 = 64 << 20;

/// The buffer for the contents of a pipe, in bytes. It is large enough that it need not grow: that
/// would leave a copy of a secret in memory.
const FROM_A_PIPE: u64 = 64 << 10;

/// Opens a regular file.
///
/// # Errors
/// If something else is there (the error says what), if there is no file, or if it may not be read.
pub fn open(path: &Path) -> io::Result<File> {
    let (file, found) = look(path)?;
    if found.is_file() { Ok(file) } else { Err(not_a_file(found.file_type())) }
}

/// Opens a regular file, or a pipe that a process writes to; returns also its length, or an
/// estimate for a pipe.
///
/// # Errors
/// As [`open`]; also if nothing comes from a pipe.
pub fn open_document(path: &Path) -> io::Result<(impl Read + use<>, u64)> {
    let (mut file, found) = look(path)?;
    let (mut begin, mut length) = (Vec::new(), found.len());
    if found.file_type().is_fifo() {
        let mut first = [0];
        // A pipe that no process has open for writing also reads as at its end.
        begin = match file.read(&mut first) {
            Ok(0) => {
                return Err(refused(
                    "nothing comes from this pipe, since no process writes to it: name a regular \
                     file",
                ));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Vec::new(),
            read => read.map(|count| first.into_iter().take(count).collect())?,
        };
        fcntl_setfl(&file, fcntl_getfl(&file)?.difference(OFlags::NONBLOCK))?;
        length = FROM_A_PIPE;
    } else if !found.is_file() {
        return Err(not_a_file(found.file_type()));
    }
    Ok((Cursor::new(begin).chain(file), length))
}

/// Reads a document from a regular file, or from a pipe that a process writes to.
///
/// # Errors
/// As [`open_document`]; also if it has more than 64 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (document, length) = open_document(path)?;
    // One more byte, so that reading sees the end without growing the buffer.
    let mut bytes =
        Vec::with_capacity(usize::try_from(length.min(MOST) + 1).map_err(io::Error::other)?);
    document.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it has more than {MOST} bytes"),
        ));
    }
    Ok(bytes)
}

/// Reads a text from a regular file, or from a pipe that a process writes to.
///
/// # Errors
/// As [`read`]; also if it is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

/// Opens whatever is at `path`, without waiting for another process.
fn look(path: &Path) -> io::Result<(File, Metadata)> {
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    match File::options().read(true).custom_flags(nonblock).open(path) {
        // A socket can't be opened, nor can a device without a driver.
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            Err(std::fs::metadata(path).map_or(error, |found| not_a_file(found.file_type())))
        }
        opened => {
            let file = opened?;
            let found = file.metadata()?;
            Ok((file, found))
        }
    }
}

fn not_a_file(kind: FileType) -> io::Error {
    let what = if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    refused(&format!("it is {what}: name a regular file"))
}

fn refused(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use rustix::fs::{CWD, Mode, mknodat};

    use super::*;

    fn why<T>(result: io::Result<T>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn anything_but_a_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "text").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(read(&path(name)).unwrap(), b"text");
            assert_eq!(io::read_to_string(open(&path(name)).unwrap()).unwrap(), "text");
        }
        mknodat(CWD, path("fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for (path, what) in [
            (path("fifo"), "a pipe"),
            (path("socket"), "a socket"),
            (path("."), "a folder"),
            ("/dev/zero".into(), "a device"),
        ] {
            assert_eq!(why(open(&path)), format!("it is {what}: name a regular file"));
            let expected = if what == "a pipe" {
                "nothing comes from this pipe, since no process writes to it: name a regular file"
                    .into()
            } else {
                format!("it is {what}: name a regular file")
            };
            assert_eq!(why(read(&path)), expected);
        }
        assert_eq!(open(&path("missing")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(open(&path("file/below")).unwrap_err().kind(), ErrorKind::NotADirectory);
        File::create(path("long")).unwrap().set_len(MOST + 1).unwrap();
        assert_eq!(why(read(&path("long"))), "it has more than 67108864 bytes");
    }

    #[test]
    fn a_pipe_is_read_to_its_end_while_a_process_writes() {
        let text = "x".repeat(200_000);
        let pipe = || -> (PathBuf, io::PipeReader, PipeWriter) {
            let (reader, writer) = io::pipe().unwrap();
            (format!("/dev/fd/{}", reader.as_raw_fd()).into(), reader, writer)
        };
        for begins_late in [false, true] {
            let (path, _reader, mut writer) = pipe();
            let text = text.clone();
            if !begins_late {
                writer.write_all(b"begin").unwrap();
            }
            let writing = std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(100));
                writer.write_all(text.as_bytes()).unwrap();
            });
            assert_eq!(read(&path).unwrap().len(), 200_000 + if begins_late { 0 } else { 5 });
            writing.join().unwrap();
        }
    }
}
