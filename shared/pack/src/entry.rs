//! The content of an unpacked pack.
//!
//! Each entry is a line, `KIND LENGTH PATH`, followed by its bytes. The kinds are `m` for a
//! metadata file, `a` for a metadata file that doesn't exist, `k` for one that the device has
//! unchanged, and `t` for a target. Paths are relative to the metadata URL or the targets URL, and
//! percent-encoded as in a request.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::limits::{MOST_BYTES, MOST_ENTRIES};

/// An entry of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A metadata file with its bytes.
    Metadata {
        /// The path below the metadata URL.
        path: &'a str,
        /// The bytes that a request for it would return.
        bytes: &'a [u8],
    },
    /// A metadata file that doesn't exist. It counts as a 404.
    Absent {
        /// The path below the metadata URL.
        path: &'a str,
    },
    /// A metadata file that the device has unchanged.
    Kept {
        /// The path below the metadata URL.
        path: &'a str,
    },
    /// A target with its bytes.
    Target {
        /// The path below the targets URL.
        path: &'a str,
        /// The bytes of the whole target.
        bytes: &'a [u8],
    },
}

/// The bytes are not a pack. The text says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a pack: {0}")]
pub struct NotAPack(pub &'static str);

impl<'a> Entry<'a> {
    fn parts(&self) -> (char, &'a str, &'a [u8]) {
        match *self {
            Self::Metadata { path, bytes } => ('m', path, bytes),
            Self::Absent { path } => ('a', path, &[]),
            Self::Kept { path } => ('k', path, &[]),
            Self::Target { path, bytes } => ('t', path, bytes),
        }
    }

    fn of(kind: &str, path: &'a str, bytes: &'a [u8]) -> Option<Self> {
        match kind {
            "m" => Some(Self::Metadata { path, bytes }),
            "a" if bytes.is_empty() => Some(Self::Absent { path }),
            "k" if bytes.is_empty() => Some(Self::Kept { path }),
            "t" => Some(Self::Target { path, bytes }),
            _ => None,
        }
    }

    /// How many bytes the entry adds to an unpacked pack.
    #[must_use]
    pub fn length(&self) -> usize {
        let (_, path, bytes) = self.parts();
        "k  \n".len() + bytes.len().to_string().len() + path.len() + bytes.len()
    }
}

/// The bytes of an unpacked pack. Paths are percent-encoded, so they contain neither spaces nor
/// line breaks.
#[must_use]
pub fn write(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut pack = Vec::with_capacity(entries.iter().map(Entry::length).sum());
    for entry in entries {
        let (kind, path, bytes) = entry.parts();
        pack.extend_from_slice(alloc::format!("{kind} {} {path}\n", bytes.len()).as_bytes());
        pack.extend_from_slice(bytes);
    }
    pack
}

/// Reads the bytes that [`write()`] wrote.
///
/// # Errors
/// [`NotAPack`] if it is longer than [`MOST_BYTES`], has more than [`MOST_ENTRIES`] entries, is cut
/// off, has an unknown kind of entry, or repeats a path.
pub fn read(pack: &[u8]) -> Result<Vec<Entry<'_>>, NotAPack> {
    if pack.len() > MOST_BYTES {
        return Err(NotAPack("it is longer than any pack"));
    }
    let (mut entries, mut rest) = (Vec::new(), pack);
    let mut paths = BTreeSet::new();
    while !rest.is_empty() {
        if entries.len() == MOST_ENTRIES {
            return Err(NotAPack("it has more entries than any pack"));
        }
        let (entry, after) = entry(rest).ok_or(NotAPack("an entry is cut off or malformed"))?;
        let (kind, path, _) = entry.parts();
        if !paths.insert((kind == 't', path.to_owned())) {
            return Err(NotAPack("it has a file twice"));
        }
        entries.push(entry);
        rest = after;
    }
    Ok(entries)
}

fn entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = core::str::from_utf8(bytes.get(..end)?).ok()?;
    let mut words = line.split(' ');
    let (kind, length, path) = (words.next()?, words.next()?.parse::<usize>().ok()?, words.next()?);
    let rest = bytes.get(end.checked_add(1)?..)?;
    let content = rest.get(..length)?;
    let is_whole = words.next().is_none() && !path.is_empty();
    Some((Entry::of(kind, path, content).filter(|_| is_whole)?, rest.get(length..)?))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_are_read_back_and_none_that_is_cut_off() {
        let entries = [
            Entry::Metadata { path: "2.root.json", bytes: b"{}\n" },
            Entry::Absent { path: "3.root.json" },
            Entry::Kept { path: "timestamp.json" },
            Entry::Target { path: "timestamp.json", bytes: b"" },
        ];
        let pack = write(&entries);
        assert_eq!(pack.len(), entries.iter().map(Entry::length).sum::<usize>());
        assert_eq!(read(&pack), Ok(entries.to_vec()));
        let ends: Vec<_> =
            (0..=4).map(|count| write(entries.get(..count).unwrap()).len()).collect();
        for length in 0..pack.len() {
            assert_eq!(
                read(pack.get(..length).unwrap()).is_ok(),
                ends.contains(&length),
                "{length}"
            );
        }
        assert_eq!(read(b""), Ok(vec![]));
    }

    #[test]
    fn other_bytes_are_refused() {
        for pack in [
            "x 0 a\n",
            "a 1 a\nx",
            "m 1 a b\nx",
            "m +1 \nx",
            "m 99999999999999999999 a\n",
            "m 0 \n",
            "\n",
        ] {
            assert!(read(pack.as_bytes()).is_err(), "{pack:?}");
        }
        let twice =
            write(&[Entry::Absent { path: "a" }, Entry::Metadata { path: "a", bytes: b"x" }]);
        assert_eq!(read(&twice), Err(NotAPack("it has a file twice")));
        assert!(read(&vec![b'\n'; MOST_BYTES + 1]).is_err());
        let paths: Vec<_> = (0..=MOST_ENTRIES).map(|number| number.to_string()).collect();
        let many: Vec<_> = paths.iter().map(|path| Entry::Absent { path }).collect();
        assert_eq!(read(&write(&many)), Err(NotAPack("it has more entries than any pack")));
        assert!(read(&write(&many[1..])).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
