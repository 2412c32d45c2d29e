//! Why a token or a key in it can't be used.

use std::path::PathBuf;

use cryptoki::error::{Error, RvError};

/// Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The URI doesn't name one key.
    #[error("'{uri}' names no key: {why}")]
    BadUri {
        /// The URI; nothing of it where it has a PIN.
        uri: String,
        /// Why.
        why: String,
    },
    /// The module is not there, or is none.
    #[error("cannot load the PKCS#11 module {}: {why}; give the right one as ?module-path=FILE", .module.display())]
    NoModule {
        /// Its file.
        module: PathBuf,
        /// Why.
        why: String,
    },
    /// No token is meant by the URI.
    #[error("no token matches {wanted}; {present}: plug it in, or name one that is there")]
    NoToken {
        /// What the URI asks for.
        wanted: String,
        /// Which tokens there are.
        present: String,
    },
    /// Several are.
    #[error("{count} tokens match {wanted}: name one by its serial=")]
    ManyTokens {
        /// How many.
        count: usize,
        /// What the URI asks for.
        wanted: String,
    },
    /// The token has no such key.
    #[error(
        "token '{token}' shows no {class} key with {wanted}: `p11tool --list-all` or `pkcs11-tool -O` list what it has"
    )]
    NoKey {
        /// The token's label.
        token: String,
        /// "public" or "private".
        class: &'static str,
        /// What the URI asks for.
        wanted: String,
    },
    /// The token has several.
    #[error("token '{token}' has {count} {class} keys with {wanted}: name one by its id=")]
    ManyKeys {
        /// The token's label.
        token: String,
        /// How many.
        count: usize,
        /// "public" or "private".
        class: &'static str,
        /// What the URI asks for.
        wanted: String,
    },
    /// The key is of a kind that not all clients verify.
    #[error(
        "the key with {wanted} in token '{token}' cannot be used: {why}; make an EC key on P-256 (secp256r1), Ed25519, or RSA of 3072 bits or more"
    )]
    BadKey {
        /// The token's label.
        token: String,
        /// What the URI asks for.
        wanted: String,
        /// Why.
        why: String,
    },
    /// The key wants a PIN of its own for each signature.
    #[error(
        "the key with {wanted} in token '{token}' wants the PIN before every signature (CKA_ALWAYS_AUTHENTICATE), which is not supported: make one that wants it once a session"
    )]
    AlwaysAuthenticate {
        /// The token's label.
        token: String,
        /// What the URI asks for.
        wanted: String,
    },
    /// Wrong PIN.
    #[error("wrong PIN for token '{token}': it locks after a few wrong ones, so make sure of it before trying again")]
    WrongPin {
        /// The token's label.
        token: String,
    },
    /// No PIN works any more.
    #[error("token '{token}' is locked after too many wrong PINs: unlock it with its security officer's PIN (or PUK)")]
    Locked {
        /// The token's label.
        token: String,
    },
    /// The module or the token refuses something.
    #[error("the token or its module refuses to {action}: {why}")]
    Refused {
        /// What.
        action: &'static str,
        /// Why.
        why: String,
    },
}

/// What a PKCS#11 function said, in one line.
pub(crate) fn refused(action: &'static str) -> impl Fn(Error) -> TokenError {
    move |error| TokenError::Refused { action, why: said(&error) }
}

/// The name of the return value, by which a token's documentation speaks of it, where there is one.
pub(crate) fn said(error: &Error) -> String {
    match error {
        Error::Pkcs11(value, function) => format!("{function} gave {value:?}"),
        error => error.to_string().replace('\n', " "),
    }
}

/// What came of a login, told by `token`.
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
