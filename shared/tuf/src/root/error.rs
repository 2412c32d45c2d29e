//! Why a root, or an operation on one, is refused.

use crate::primitives::Time;
use crate::signing::VerifyError;

/// Why a root, or an operation on one, is refused. Each message is one line, and says what to do
/// unless that is obvious.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// The file is no root, or clients would read it differently.
    #[error("it is not a root that every client reads alike: {0}")]
    Unreadable(String),
    /// A published root does not verify.
    #[error(transparent)]
    Document(#[from] VerifyError),
    /// A first root is not version 1, or another root is not the version after the newest.
    #[error(
        "it is version {found}, and the next one is {expected}: versions have no gaps, since \
         devices walk them one by one"
    )]
    Version {
        /// The version in the file.
        found: u64,
        /// The version that follows what is published.
        expected: u64,
    },
    /// The root has expired.
    #[error("it expired at {0}, its signed.expires: set a new expiry, and have it signed again")]
    Expired(Time),
    /// Fewer valid signatures than a threshold requires.
    #[error(
        "version {judge} of the root asks for {threshold} signatures of its root keys, and \
         {found} of them count: {missing} more needed"
    )]
    TooFewSignatures {
        /// The version of the root whose threshold isn't reached: the predecessor, or the root
        /// itself.
        judge: u64,
        /// The threshold: how many of its root keys must sign.
        threshold: u64,
        /// How many distinct root keys signed.
        found: usize,
        /// How many more must sign.
        missing: u64,
    },
    /// A role is absent or has no key.
    #[error(
        "no key would be left for the role {0}, in its signed.roles.{0}.keyids: add the new key \
         first"
    )]
    NoKeys(&'static str),
    /// A threshold is 0, or larger than the number of keys.
    #[error(
        "{role} would ask for {threshold} signatures with {keys} keys: its \
         signed.roles.{role}.threshold is at least 1 and at most the number of keys"
    )]
    Threshold {
        /// The role whose threshold was refused.
        role: &'static str,
        /// The threshold that was asked for.
        threshold: u64,
        /// How many keys it has.
        keys: usize,
    },
    /// A role lists one public key under two key ids, or one key id twice.
    #[error(
        "{role} lists one public key twice, as {first} and {second}: a threshold must be reached \
         by different keys, so leave one out of its signed.roles.{role}.keyids"
    )]
    KeyTwice {
        /// The role that lists the key twice.
        role: &'static str,
        /// The first id of the key.
        first: String,
        /// The second id, or the first again.
        second: String,
    },
    /// A role lists the id of a key that the root doesn't have.
    #[error(
        "{role} lists the key {id}, which the root does not have: remove that id from its \
         signed.roles.{role}.keyids, or add the key with `tufline root add-key`"
    )]
    UnknownKey {
        /// The role that lists the key.
        role: &'static str,
        /// The beginning of the key's id.
        id: String,
    },
    /// A key that some client can't use, or that is too weak for new signatures.
    #[error("the key {what} cannot be used: {why}")]
    BadKey {
        /// The key, as the caller names it.
        what: String,
        /// Why it is refused, and what to do.
        why: String,
    },
    /// A root key of a repository that others made, which not all clients can use. An import cannot
    /// continue with it.
    #[error(
        "version {version} of the root lists the key {id} ({kind}) for its root role, which not \
         all clients can use: {why}; replace it in the old repository by an Ed25519 key, one of \
         P-256 in PEM, or RSA-PSS with SHA-256, and import what is published then"
    )]
    Holder {
        /// The version of the root that lists the key.
        version: u64,
        /// The id of the key.
        id: String,
        /// Its type and scheme.
        kind: String,
        /// Which clients can't use the key, or for what reason.
        why: String,
    },
    /// A name for a key's holder that is refused.
    #[error("a keyholder's name {0}")]
    BadHolder(String),
    /// A text with a character that can hide or move other text.
    #[error(
        "{place} holds the character U+{code:04X}, which a terminal does not show as it is, so \
         that nobody sees what they sign: take it out"
    )]
    NotPlain {
        /// The field that holds it.
        place: String,
        /// The character's code point.
        code: u32,
    },
    /// A root key that is also an online key, or would become one.
    #[error(
        "the key {0} is a root key: an online role needs a key of its own, since root keys must \
         stay offline"
    )]
    RootKeyOnline(String),
    /// A name that matches no key, or several.
    #[error("'{wanted}' matches {found} keys of {role}, and must match one: it has {keys}")]
    WhichKey {
        /// The role whose keys were searched.
        role: &'static str,
        /// The name that the caller gave.
        wanted: String,
        /// How many keys match: none, or more than one.
        found: usize,
        /// The role's keys, as people know them.
        keys: String,
    },
    /// The two files hold different roots, so their signatures can't be merged.
    #[error(
        "it is a different root from the first file's: signatures over different contents cannot \
         be merged"
    )]
    OtherRoot,
    /// The key may not sign this root.
    #[error(
        "the key {0} is not a root key of this version or of the one before: its signature would \
         not count"
    )]
    NotASigner(String),
    /// The signature doesn't verify.
    #[error("the signature of {0} does not verify")]
    BadSignature(String),
    /// A setting of the root that this repository can't serve.
    #[error("{0}")]
    Unfit(String),
}
