//! The errors of a token, or of a key in it.

use std::path::PathBuf;

use cryptoki::error::{Error, RvError};

/// Why a token, or a key in it, can't be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The URI doesn't name a key.
    #[error("'{uri}' names no key: {why}")]
    BadUri {
        /// The URI; shortened if it contains a PIN.
        uri: String,
        /// What is wrong with it.
        why: String,
    },
    /// The module is missing, or is no PKCS#11 module.
    #[error("cannot load the PKCS#11 module {}: {why}; give the right one as ?module-path=FILE", .module.display())]
    NoModule {
        /// The module's file.
        module: PathBuf,
        /// Why it can't be loaded.
        why: String,
    },
    /// No token matches the URI.
    #[error("no token matches {wanted}; {present}: plug it in, or name one that is there")]
    NoToken {
        /// What the URI asks for.
        wanted: String,
        /// The tokens that are present.
        present: String,
    },
    /// Several tokens match the URI.
    #[error("{count} tokens match {wanted}: name one by its serial=")]
    ManyTokens {
        /// How many tokens match.
        count: usize,
        /// What the URI asks for.
        wanted: String,
    },
    /// The token has no such key.
    #[error(
        "token '{token}' shows no {class} key with {wanted}: `p11tool --list-all` or `pkcs11-tool \
         -O` lists its keys"
    )]
    NoKey {
        /// The token's label.
        token: String,
        /// "public" or "private".
        class: &'static str,
        /// What the URI asks for.
        wanted: String,
    },
    /// The token has several such keys.
    #[error("token '{token}' has {count} {class} keys with {wanted}: name one by its id=")]
    ManyKeys {
        /// The token's label.
        token: String,
        /// How many keys match.
        count: usize,
        /// "public" or "private".
        class: &'static str,
        /// What the URI asks for.
        wanted: String,
    },
    /// The key is of a kind that not all clients verify.
    #[error(
        "the key with {wanted} in token '{token}' cannot be used: {why}; make an EC key on P-256 \
         (secp256r1), Ed25519, or RSA of 3072 bits or more"
    )]
    BadKey {
        /// The token's label.
        token: String,
        /// What the URI asks for.
        wanted: String,
        /// What is wrong with the key.
        why: String,
    },
    /// The key requires the PIN for each signature.
    #[error(
        "the key with {wanted} in token '{token}' requires the PIN before every signature \
         (CKA_ALWAYS_AUTHENTICATE), which is not supported: make one that requires it once per \
         session"
    )]
    AlwaysAuthenticate {
        /// The token's label.
        token: String,
        /// What the URI asks for.
        wanted: String,
    },
    /// The PIN is wrong.
    #[error(
        "wrong PIN for token '{token}': it locks after a few wrong PINs, so make sure of the PIN \
         before you try again"
    )]
    WrongPin {
        /// The token's label.
        token: String,
    },
    /// The token is locked, so that no PIN works any more.
    #[error(
        "token '{token}' is locked after too many wrong PINs: unlock it with its security \
         officer's PIN (or PUK)"
    )]
    Locked {
        /// The token's label.
        token: String,
    },
    /// The module or the token refuses an operation.
    #[error("the token or its module refuses to {action}: {why}")]
    Refused {
        /// The operation, as a verb phrase.
        action: &'static str,
        /// The reason, as the module gives it.
        why: String,
    },
}

/// Turns a PKCS#11 error of `action` into a [`TokenError`].
pub(crate) fn refused(action: &'static str) -> impl Fn(Error) -> TokenError {
    move |error| TokenError::Refused { action, why: said(&error) }
}

/// A PKCS#11 error in one line, with the name of its return value, by which a token's documentation
/// knows it.
pub(crate) fn said(error: &Error) -> String {
    match error {
        Error::Pkcs11(value, function) => format!("{function} returned {value:?}"),
        error => error.to_string().replace('\n', " "),
    }
}

/// The error of a failed login to `token`.
pub(crate) fn login(token: &str, error: &Error) -> TokenError {
    let token = token.to_owned();
    match error {
        Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _) => {
            TokenError::WrongPin { token }
        }
        Error::Pkcs11(RvError::PinLocked, _) => TokenError::Locked { token },
        error => TokenError::Refused { action: "accept the PIN", why: said(error) },
    }
}
