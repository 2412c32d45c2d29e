//! A token, and a key in it.

use std::sync::Mutex;

use async_trait::async_trait;
use aws_lc_rs::rand::SecureRandom;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use tough::schema::key::Key as PublicKey;
use tough::sign::Sign;
use tufline_tuf::Sha256;

use crate::TokenError;
use crate::error::{login, refused, said};
use crate::public::{to_der, to_tuf};
use crate::uri::{KeyUri, TokenName};

/// An open token, without a login yet.
#[derive(Debug)]
pub struct Token {
    session: Session,
    info: TokenInfo,
    uri: KeyUri,
}

impl Token {
    /// Opens the token that `uri` names.
    ///
    /// # Errors
    /// If the module can't be loaded, or no token or several match.
    pub fn open(uri: &KeyUri) -> Result<Self, TokenError> {
        let not = |why: String| TokenError::NoModule { module: uri.module.clone(), why };
        let no_module = |error: &Error| not(said(error));
        // The loader would wait for the writer of a pipe.
        if std::fs::metadata(&uri.module).is_ok_and(|found| !found.is_file()) {
            return Err(not("it is not a regular file".into()));
        }
        let module = Pkcs11::new(&uri.module).map_err(|error| no_module(&error))?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another key of the same module was opened before.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(no_module(&error)),
        }
        let (slot, info) = find(&module, &uri.token)?;
        let session = module.open_ro_session(slot).map_err(refused("open a session"))?;
        Ok(Self { session, info, uri: uri.clone() })
    }

    /// The token's label, for people.
    #[must_use]
    pub fn label(&self) -> &str {
        self.info.label()
    }

    /// Whether the PIN is entered on the token or its reader, instead of being passed to
    /// [`unlock`](Self::unlock).
    #[must_use]
    pub fn has_pad(&self) -> bool {
        self.info.protected_authentication_path()
    }

    /// The public key. Most tokens return it without a PIN.
    ///
    /// # Errors
    /// If no key or several match, or the key is of an unsupported kind.
    pub fn public_key(&self) -> Result<PublicKey, TokenError> {
        let key = self.only(ObjectClass::PUBLIC_KEY, "public")?;
        let wanted = [
            AttributeType::KeyType,
            AttributeType::EcParams,
            AttributeType::EcPoint,
            AttributeType::Modulus,
            AttributeType::PublicExponent,
        ];
        let attributes =
            self.session.get_attributes(key, &wanted).map_err(refused("return the public key"))?;
        let bad =
            |why| TokenError::BadKey { token: self.label().into(), wanted: self.uri.key(), why };
        to_tuf(&attributes).map_err(bad)
    }

    /// Logs in with `pin` and returns the key, ready to sign. `pin` is `None` if the token [has a
    /// pad](Self::has_pad).
    ///
    /// # Errors
    /// If the PIN is wrong or the token locked; if no key or several match; or if the key is of an
    /// unsupported kind or requires the PIN for each signature.
    pub fn unlock(self, pin: Option<&str>) -> Result<TokenKey, TokenError> {
        let pin = pin.map(|pin| AuthPin::from(pin.to_owned()));
        let done = self.session.login(UserType::User, pin.as_ref());
        done.map_err(|error| login(self.label(), &error))?;
        let public = self.public_key()?;
        let private = self.only(ObjectClass::PRIVATE_KEY, "private")?;
        let always = self.session.get_attributes(private, &[AttributeType::AlwaysAuthenticate]);
        if always.is_ok_and(|found| found.contains(&Attribute::AlwaysAuthenticate(true))) {
            return Err(TokenError::AlwaysAuthenticate {
                token: self.label().into(),
                wanted: self.uri.key(),
            });
        }
        Ok(TokenKey { session: Mutex::new(self.session), private, public })
    }

    /// The only key of this class that the URI names.
    fn only(&self, class: ObjectClass, name: &'static str) -> Result<ObjectHandle, TokenError> {
        let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
        template.extend(
            self.uri.label.iter().map(|label| Attribute::Label(label.clone().into_bytes())),
        );
        template.extend(self.uri.id.iter().map(|id| Attribute::Id(id.clone())));
        let found = self.session.find_objects(&template).map_err(refused("list its keys"))?;
        let (token, wanted) = (self.label().to_owned(), self.uri.key());
        match found[..] {
            [key] => Ok(key),
            [] => Err(TokenError::NoKey { token, class: name, wanted }),
            _ => Err(TokenError::ManyKeys { token, count: found.len(), class: name, wanted }),
        }
    }
}

fn find(module: &Pkcs11, wanted: &TokenName) -> Result<(Slot, TokenInfo), TokenError> {
    let list = || refused("list its tokens");
    let mut tokens = Vec::new();
    for slot in module.get_slots_with_initialized_token().map_err(list())? {
        tokens.push((slot, module.get_token_info(slot).map_err(list())?));
    }
    let labels: Vec<_> = tokens.iter().map(|(_, info)| format!("'{}'", info.label())).collect();
    tokens.retain(|(_, info)| {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        is(&wanted.label, info.label())
            && is(&wanted.serial, info.serial_number())
            && is(&wanted.manufacturer, info.manufacturer_id())
            && is(&wanted.model, info.model())
    });
    match (tokens.len(), tokens.pop()) {
        (1, Some(found)) => Ok(found),
        (0, _) => {
            let present = if labels.is_empty() {
                "there is none".into()
            } else {
                format!("there is {}", labels.join(", "))
            };
            Err(TokenError::NoToken { wanted: wanted.to_string(), present })
        }
        (count, _) => Err(TokenError::ManyTokens { count, wanted: wanted.to_string() }),
    }
}

/// A person's key in a token, which signs roots.
#[derive(Debug)]
pub struct TokenKey {
    // Only one thread at a time may use a session.
    session: Mutex<Session>,
    private: ObjectHandle,
    public: PublicKey,
}

impl TokenKey {
    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let sign = |mechanism: &Mechanism, data: &[u8]| {
            let session = self.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            session.sign(mechanism, self.private, data).map_err(refused("sign"))
        };
        match &self.public {
            PublicKey::Ecdsa { .. } | PublicKey::EcdsaOld { .. } => {
                // The token signs the digest: fewer tokens have a mechanism that also hashes.
                let pair = sign(&Mechanism::Ecdsa, Sha256::of(message).as_bytes())?;
                to_der(&pair).map_err(|why| TokenError::Refused { action: "sign", why })
            }
            PublicKey::Ed25519 { .. } => {
                sign(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)), message)
            }
            // PSS, SHA-256 and a salt of 32 bytes: not all clients verify another salt length.
            PublicKey::Rsa { .. } => {
                let (hash_alg, mgf) = (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256);
                sign(
                    &Mechanism::Sha256RsaPkcsPss(PkcsPssParams { hash_alg, mgf, s_len: 32.into() }),
                    message,
                )
            }
        }
    }
}

#[async_trait]
impl Sign for TokenKey {
    fn tuf_key(&self) -> PublicKey {
        self.public.clone()
    }

    async fn sign(
        &self,
        message: &[u8],
        _random: &(dyn SecureRandom + Sync),
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(self.signature(message)?)
    }
}
