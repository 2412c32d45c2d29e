//! Parses PKCS#11 URIs (RFC 7512), which name a key in a token, as p11tool and OpenSSL accept them.

use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::{percent_decode_str, percent_encode_byte};

use crate::TokenError;

/// A key in a token, parsed from `pkcs11:token=LABEL;object=LABEL?module-path=FILE`.
///
/// ```
/// use tufline_token::KeyUri;
///
/// let uri = "pkcs11:token=root;object=alice?module-path=/usr/lib/opensc-pkcs11.so";
/// let key: KeyUri = uri.parse()?;
///
/// // Others may see a command line, so a URI may contain no PIN.
/// assert!(format!("{uri}&pin-value=1234").parse::<KeyUri>().is_err());
/// # Ok::<(), tufline_token::TokenError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyUri {
    /// The module's file.
    pub(crate) module: PathBuf,
    /// The attributes of the wanted token.
    pub(crate) token: TokenName,
    /// The key's label (`CKA_LABEL`).
    pub(crate) label: Option<String>,
    /// The key's id (`CKA_ID`).
    pub(crate) id: Option<Vec<u8>>,
}

/// The attributes that a token must have to match; an attribute that is not given matches any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TokenName {
    pub(crate) label: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) manufacturer: Option<String>,
    pub(crate) model: Option<String>,
}

impl std::fmt::Display for TokenName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let attributes = [
            ("token", &self.label),
            ("serial", &self.serial),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
        ];
        let given = attributes
            .iter()
            .filter_map(|(name, value)| Some(format!("{name} '{}'", value.as_ref()?)));
        formatter.write_str(&given.collect::<Vec<_>>().join(", "))
    }
}

impl KeyUri {
    /// The key as messages name it.
    pub(crate) fn key(&self) -> String {
        let label = self.label.iter().map(|label| format!("label '{label}'"));
        let hex =
            |id: &Vec<u8>| id.iter().map(|&byte| percent_encode_byte(byte)).collect::<String>();
        let id = self.id.iter().map(|id| format!("id {}", hex(id)));
        label.chain(id).collect::<Vec<_>>().join(" and ")
    }
}

impl FromStr for KeyUri {
    type Err = TokenError;

    /// RFC 7512, section 2.3: `;` separates the attributes of the path, `&` those of the query;
    /// none may occur twice.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        read(text).map_err(|why| {
            let uri = if text.contains("pin-value") { "pkcs11:…" } else { text };
            TokenError::BadUri { uri: uri.into(), why }
        })
    }
}

fn read(text: &str) -> Result<KeyUri, String> {
    let rest = text.strip_prefix("pkcs11:").ok_or("it does not begin with pkcs11:")?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut uri = KeyUri::default();
    for (name, value) in attributes(path, ';') {
        let value = value.ok_or_else(|| format!("{name} has no value"))?;
        match name {
            "token" => set(&mut uri.token.label, name, decode(value)?)?,
            "serial" => set(&mut uri.token.serial, name, decode(value)?)?,
            "manufacturer" => set(&mut uri.token.manufacturer, name, decode(value)?)?,
            "model" => set(&mut uri.token.model, name, decode(value)?)?,
            "object" => set(&mut uri.label, name, decode(value)?)?,
            "id" => set(&mut uri.id, name, percent_decode_str(value).collect())?,
            "type" if ["private", "public"].contains(&value) => {}
            "type" => return Err(format!("its type is {value}; name a key")),
            _ => {
                return Err(format!(
                    "the attribute {name} is not known; known are token, serial, manufacturer, \
                     model, object and id"
                ));
            }
        }
    }
    let mut module = None;
    for (name, value) in attributes(query, '&') {
        match name {
            "module-path" => set(&mut module, name, decode(value.unwrap_or_default())?)?,
            "pin-value" | "pin-source" => {
                return Err(
                    "the PIN does not belong in it, where others may see it; enter it when \
                            asked, or give --passphrase-file"
                        .into(),
                );
            }
            _ => return Err(format!("the attribute {name} is not known; only module-path is")),
        }
    }
    if uri.token.label.is_none() && uri.token.serial.is_none() {
        return Err("add token=LABEL or serial=NUMBER of the token".into());
    }
    if uri.label.is_none() && uri.id.is_none() {
        return Err("add object=LABEL or id=%01 of the key".into());
    }
    uri.module =
        module.ok_or("add ?module-path=FILE, the library that comes with the token")?.into();
    // The loader would look for a relative name in folders that others may write to.
    if !uri.module.is_absolute() {
        return Err("the module-path must begin with /".into());
    }
    Ok(uri)
}

fn attributes(text: &str, separator: char) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(separator).filter(|part| !part.is_empty()).map(|part| match part.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (part, None),
    })
}

fn set<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        Some(_) => Err(format!("{name} occurs twice")),
        None => Ok(()),
    }
}

fn decode(value: &str) -> Result<String, String> {
    let decoded = percent_decode_str(value).decode_utf8();
    decoded.map(Into::into).map_err(|_| format!("{value} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_as_other_tools_name_it() {
        let uri: KeyUri =
            "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=c2;token=Carol%27s;id=%01%fF;\
            object=a;type=private?module-path=/usr/lib/a.so"
                .parse()
                .unwrap();
        let token = TokenName {
            label: Some("Carol's".into()),
            serial: Some("c2".into()),
            manufacturer: Some("SoftHSM project".into()),
            model: Some("SoftHSM v2".into()),
        };
        let (label, id) = (Some("a".into()), Some(vec![1, 255]));
        assert_eq!(uri, KeyUri { module: "/usr/lib/a.so".into(), token, label, id });
        assert_eq!(uri.key(), "label 'a' and id %01%FF");
    }

    #[test]
    fn a_uri_that_names_no_key_is_refused_with_advice() {
        for (text, why) in [
            ("a.pem", "does not begin with pkcs11:"),
            ("pkcs11:object=a?module-path=/a.so", "add token=LABEL"),
            ("pkcs11:token=a?module-path=/a.so", "add object=LABEL"),
            ("pkcs11:token=a;object=b", "add ?module-path=FILE"),
            ("pkcs11:token=a;object=b?module-path=a.so", "must begin with /"),
            ("pkcs11:token=a;token=b;object=b?module-path=/a.so", "token occurs twice"),
            ("pkcs11:token;object=b?module-path=/a.so", "token has no value"),
            ("pkcs11:token=%ff;object=b?module-path=/a.so", "is not UTF-8"),
            ("pkcs11:token=a;slot-id=1?module-path=/a.so", "slot-id is not known"),
            ("pkcs11:token=a;object=b;type=cert?module-path=/a.so", "type is cert"),
            ("pkcs11:token=a;object=b?module-name=a", "only module-path is"),
        ] {
            let error = text.parse::<KeyUri>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_pin_is_not_repeated_in_an_error() {
        let error = "pkcs11:token=a;object=b?module-path=/a.so&pin-value=123456"
            .parse::<KeyUri>()
            .unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("the PIN does not belong in it") && !error.contains("123456"),
            "{error}"
        );
    }
}
