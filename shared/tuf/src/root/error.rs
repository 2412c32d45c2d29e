//! Why a root, or an operation on one, is refused.

use crate::primitives::Time;
use crate::signing::VerifyError;

/// Why a root, or an operation on one, is refused: one line each, with what to do where that isn't plain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// Not a root, or one that clients would read differently.
    #[error("it is not a root that every client reads alike: {0}")]
    Unreadable(String),
    /// A published root that doesn't verify.
    #[error(transparent)]
    Document(#[from] VerifyError),
    /// A first root has version 1, any other the next version after the newest.
    #[error(
        "it is version {found}, and the next one is {expected}: versions have no gaps, since devices walk them one by one"
    )]
    Version {
        /// The version in the file.
        found: u64,
        /// The version that follows what is published.
        expected: u64,
    },
    /// It expired.
    #[error("it expired at {0}, its signed.expires: set a new expiry, and have it signed again")]
    Expired(Time),
    /// Fewer signatures than a threshold asks for.
    #[error(
        "version {judge} of the root asks for {threshold} signatures of its root keys, and {found} of them count: {missing} more needed"
    )]
    TooFewSignatures {
        /// The version of the root whose threshold isn't reached: the one before, or its own.
        judge: u64,
        /// What it asks for.
        threshold: u64,
        /// How many there are, of distinct keys.
        found: usize,
        /// The difference.
        missing: u64,
    },
    /// A role that isn't there or has no key.
    #[error("no key would be left for the role {0}, in its signed.roles.{0}.keyids: add the new key first")]
    NoKeys(&'static str),
    /// More signatures asked for than keys there are.
    #[error(
        "{role} would ask for {threshold} signatures with {keys} keys: its signed.roles.{role}.threshold is at least 1 and at most the number of keys"
    )]
    Threshold {
        /// The role.
        role: &'static str,
        /// What would be asked for.
        threshold: u64,
        /// How many keys it has.
        keys: usize,
    },
    /// One public key under two key ids, or a key id that is listed twice.
    #[error(
        "{role} lists one public key twice, as {first} and {second}: a threshold must be reached by different keys, so leave one out of its signed.roles.{role}.keyids"
    )]
    KeyTwice {
        /// The role.
        role: &'static str,
        /// An id of it.
        first: String,
        /// Another, or the same again.
        second: String,
    },
    /// A role names a key that the root doesn't have.
    #[error(
        "{role} lists the key {id}, which the root does not have: take that out of its signed.roles.{role}.keyids, or add the key with \
         `tufline root add-key`"
    )]
    UnknownKey {
        /// The role.
        role: &'static str,
        /// The key's id.
        id: String,
    },
    /// A key that some client can't use, or shouldn't.
    #[error("the key {what} cannot be used: {why}")]
    BadKey {
        /// Which one.
        what: String,
        /// Why.
        why: String,
    },
    /// A root key of a repository that others made, with which this one can't go on.
    #[error(
        "version {version} of the root lists the key {id} ({kind}) for its root role, which not all clients can use: {why}; replace it in the old \
         repository by an Ed25519 key, one of P-256 in PEM, or RSA-PSS with SHA-256, and import what is published then"
    )]
    Holder {
        /// The root's version.
        version: u64,
        /// The key's id.
        id: String,
        /// Its type and scheme.
        kind: String,
        /// Why.
        why: String,
    },
    /// A name for a key's holder that can't be kept.
    #[error("a keyholder's name {0}")]
    BadHolder(String),
    /// A text in which something can hide.
    #[error(
        "{place} holds the character U+{code:04X}, which a terminal does not show as it is, so that nobody sees what they sign: take it out"
    )]
    NotPlain {
        /// The field.
        place: String,
        /// The character.
        code: u32,
    },
    /// A root key that is, or becomes, an online one as well.
    #[error("the key {0} is a root key: an online role needs a key of its own, since root keys must stay offline")]
    RootKeyOnline(String),
    /// No such key, or several.
    #[error("{role} has {found} keys that '{wanted}' may mean: it has {keys}")]
    WhichKey {
        /// The role.
        role: &'static str,
        /// As it was asked for.
        wanted: String,
        /// How many match: none, or more than one.
        found: usize,
        /// The keys of the role.
        keys: String,
    },
    /// Signatures of two different roots can't be merged.
    #[error("it is another root than the first file: signatures of different contents cannot be merged")]
    OtherRoot,
    /// A key that may not sign this root.
    #[error("the key {0} is no root key of this version or of the one before: its signature would not count")]
    NotASigner(String),
    /// A signature that doesn't verify.
    #[error("the signature of {0} does not verify")]
    BadSignature(String),
    /// A setting that this repository can't serve.
    #[error("{0}")]
    Unfit(String),
}
