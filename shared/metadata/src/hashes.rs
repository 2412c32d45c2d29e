//! Compares bytes with listed digests.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::error::{Error, Result};

/// Hashes bytes as they arrive, with every listed hash function that is known here.
#[derive(Debug, Clone)]
pub struct Hasher<'h> {
    hashes: &'h BTreeMap<String, Vec<u8>>,
    functions: Vec<(&'h str, Function)>,
    may_be_none: bool,
}

#[derive(Debug, Clone)]
enum Function {
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl<'h> Hasher<'h> {
    /// For a file that may be listed without digests: the referring document then identifies it by
    /// its version, and its own signatures vouch for it.
    #[must_use]
    pub(crate) fn optional(hashes: &'h BTreeMap<String, Vec<u8>>) -> Self {
        Self { may_be_none: true, ..Self::new(hashes) }
    }

    /// For a file that must be listed with one of these digests, by the names of their hash
    /// functions.
    #[must_use]
    pub fn new(hashes: &'h BTreeMap<String, Vec<u8>>) -> Self {
        let functions = hashes.keys().filter_map(|name| {
            let function = match name.as_str() {
                "sha224" => Function::Sha224(Sha224::new()),
                "sha256" => Function::Sha256(Sha256::new()),
                "sha384" => Function::Sha384(Sha384::new()),
                "sha512" => Function::Sha512(Sha512::new()),
                _ => return None,
            };
            Some((name.as_str(), function))
        });
        Self { hashes, functions: functions.collect(), may_be_none: false }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for (_, function) in &mut self.functions {
            match function {
                Function::Sha224(hash) => hash.update(bytes),
                Function::Sha256(hash) => hash.update(bytes),
                Function::Sha384(hash) => hash.update(bytes),
                Function::Sha512(hash) => hash.update(bytes),
            }
        }
    }

    /// Checks the digests. All digests of known hash functions must match, and at least one
    /// function must be known.
    ///
    /// # Errors
    /// [`Error::Content`] if a digest differs or none can be checked.
    pub fn check(self) -> Result<()> {
        if self.hashes.is_empty() && !self.may_be_none {
            return Err(Error::Content(
                "no digest of it is listed, so its bytes can't be checked".into(),
            ));
        }
        if self.functions.is_empty() && !self.hashes.is_empty() {
            let names: Vec<&str> = self.hashes.keys().map(String::as_str).collect();
            let why = format!(
                "none of the hash functions that are listed for it is known here: {}",
                names.join(", ")
            );
            return Err(Error::Content(why));
        }
        for (name, function) in self.functions {
            let found = match function {
                Function::Sha224(hash) => hash.finalize().to_vec(),
                Function::Sha256(hash) => hash.finalize().to_vec(),
                Function::Sha384(hash) => hash.finalize().to_vec(),
                Function::Sha512(hash) => hash.finalize().to_vec(),
            };
            if self.hashes.get(name) != Some(&found) {
                return Err(Error::Content(format!("its {name} is not the one that is listed")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn what_is_listed_is_right_and_something_is_listed() {
        let digest = |name: &str, bytes: &[u8]| {
            let digest = if name == "sha512" {
                Sha512::digest(bytes).to_vec()
            } else {
                Sha256::digest(bytes).to_vec()
            };
            (String::from(name), digest)
        };
        for (listed, good) in [
            (Vec::from([digest("sha256", b"ab")]), true),
            (
                Vec::from([
                    digest("sha256", b"ab"),
                    digest("sha512", b"ab"),
                    digest("blake2b", b""),
                ]),
                true,
            ),
            (Vec::from([digest("sha256", b"ab"), digest("sha512", b"a")]), false),
            (Vec::from([digest("blake2b", b"ab")]), false),
            (Vec::new(), false),
        ] {
            let listed = BTreeMap::from_iter(listed);
            let mut hasher = Hasher::new(&listed);
            hasher.update(b"a");
            hasher.update(b"b");
            assert_eq!(
                hasher.check().map_err(|error| error.to_string()).is_ok(),
                good,
                "{listed:?}"
            );
        }
        assert!(Hasher::optional(&BTreeMap::new()).check().is_ok());
    }
}
