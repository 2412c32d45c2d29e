//! SHA-256 digests, written in 64 lower-case hex digits, since upper case fails in some clients.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

/// A SHA-256 digest: 32 bytes, written in lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// A digest that somebody else computed, for example S3's full-object checksum.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PausedHasher {
    /// The paused state in hex.
    #[must_use]
    pub fn as_hex(&self) -> &str {
        &self.0
    }
}

/// Computes a [`Sha256`] piece by piece, if need be over several runs ([`Hasher::pause`]).
///
/// It uses `sha2`, since aws-lc cannot export its state. Both use the processor's own instructions
/// and are equally fast.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

/// The state of a [`Hasher`], in hex. Another process can resume from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PausedHasher(String);

impl Hasher {
    /// A hasher that has hashed nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The state after the bytes added so far. It suffices to go on, and does not reveal those
    /// bytes.
    #[must_use]
    pub fn pause(&self) -> PausedHasher {
        PausedHasher(hex::encode(self.0.serialize()))
    }

    /// Resumes from `paused`. `None` when `paused` is not the state of a hasher.
    #[must_use]
    pub fn resume(paused: &PausedHasher) -> Option<Self> {
        let mut state = SerializedState::<sha2::Sha256>::default();
        hex::decode_to_slice(&paused.0, &mut state).ok()?;
        sha2::Sha256::deserialize(&state).ok().map(Self)
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    #[must_use]
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

/// Adds the bytes that are written.
impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A string that is not 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a SHA-256 in 64 lower-case hex digits")]
pub struct NotSha256(String);

impl FromStr for Sha256 {
    type Err = NotSha256;

    fn from_str(text: &str) -> Result<Self, NotSha256> {
        let mut bytes = [0; 32];
        let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !lower || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(NotSha256(text.chars().take(80).collect()));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = NotSha256;

    fn try_from(text: String) -> Result<Self, NotSha256> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digests_are_those_of_the_standard() {
        // FIPS 180-4's examples, and the empty message.
        for (message, digest) in [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ] {
            assert_eq!(Sha256::of(message.as_bytes()).to_string(), digest);
        }
    }

    #[test]
    fn an_invalid_state_is_not_resumed() {
        let paused = Hasher::new().pause();
        assert!(Hasher::resume(&paused).is_some());
        for text in
            ["", "00", "x", &"f".repeat(paused.0.len()), &paused.0[1..], &format!("{}00", paused.0)]
        {
            assert!(Hasher::resume(&PausedHasher(text.into())).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_pause_anywhere_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..1000), cuts in prop::collection::vec(0..1000_usize, 0..5)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let (mut hasher, mut begin) = (Hasher::new(), 0);
            for cut in cuts {
                hasher.update(&bytes[begin..cut]);
                hasher = Hasher::resume(&hasher.pause()).unwrap();
                begin = cut;
            }
            hasher.update(&bytes[begin..]);
            prop_assert_eq!(hasher.finish(), Sha256::of(&bytes));
        }
    }
}
