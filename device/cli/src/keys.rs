//! Credentials of an AWS identity (access keys).

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// How long before they expire a device renews its keys, so that no key expires on its way to the
/// server.
const AHEAD: Duration = Duration::from_mins(5);

/// Access keys of an AWS identity, and when they expire.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Keys {
    #[serde(rename = "AccessKeyId", alias = "accessKeyId")]
    pub id: String,
    #[serde(rename = "SecretAccessKey", alias = "secretAccessKey")]
    pub secret: String,
    /// Temporary keys have a session token.
    #[serde(rename = "SessionToken", alias = "sessionToken", default)]
    pub session_token: Option<String>,
    #[serde(rename = "Expiration", alias = "expiration", default)]
    expiration: Option<Timestamp>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keys").field("expiration", &self.expiration).finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads keys as AWS's tools write them:
    ///
    /// - the output of a credential process
    ///   (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>),
    /// - the answers of STS, which put `Credentials` around the same fields
    ///   (<https://docs.aws.amazon.com/cli/latest/reference/sts/assume-role.html>),
    /// - the answer of the credentials provider of AWS IoT Core, in lower case
    ///   (<https://docs.aws.amazon.com/iot/latest/developerguide/authorizing-direct-aws.html>).
    ///
    /// An error never contains what it read.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(json).map_err(|_| "it is not JSON".to_owned())?;
        if value.get("Version").is_some_and(|version| *version != 1) {
            return Err("its Version is not 1".to_owned());
        }
        let inner = value.get("Credentials").or_else(|| value.get("credentials")).unwrap_or(&value);
        let keys = Self::deserialize(inner).map_err(|_| {
            "it has no AccessKeyId and SecretAccessKey, or an invalid SessionToken, or an Expiration that is not RFC 3339"
                .to_owned()
        })?;
        let texts = [Some(&keys.id), Some(&keys.secret), keys.session_token.as_ref()];
        if texts.into_iter().flatten().any(|text| !is_field(text)) {
            return Err(
                "one of its keys is empty, or has characters that a key can't have".to_owned()
            );
        }
        Ok(keys)
    }

    /// Whether the keys expire within [`AHEAD`].
    pub fn expire(&self, now: Timestamp) -> bool {
        let soon = now.saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
        self.expiration.is_some_and(|expiration| soon >= expiration)
    }
}

/// Whether a text can stand in a header field: not empty, only printable ASCII, no spaces.
pub fn is_field(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IOT: &str = r#"{"credentials":{"accessKeyId":"A","secretAccessKey":"s","sessionToken":"t","expiration":"2018-01-18T09:18:06Z"}}"#;
    const STS: &str = r#"{"Credentials":{"AccessKeyId":"A","SecretAccessKey":"s","SessionToken":"t","Expiration":"2018-01-18T09:18:06+00:00"},"AssumedRoleUser":{}}"#;
    const PROCESS: &str = r#"{"Version":1,"AccessKeyId":"A","SecretAccessKey":"s","SessionToken":"t","Expiration":"2018-01-18T09:18:06Z"}"#;

    #[test]
    fn what_tools_of_aws_write_is_read() {
        for text in [IOT, STS, PROCESS] {
            let keys = Keys::read(text.as_bytes()).unwrap();
            assert_eq!(
                (&*keys.id, &*keys.secret, keys.session_token.as_deref()),
                ("A", "s", Some("t"))
            );
            let at = |text: &str| text.parse::<Timestamp>().unwrap();
            assert!(
                keys.expire(at("2018-01-18T09:13:06Z")) && !keys.expire(at("2018-01-18T09:13:05Z"))
            );
        }
        let keys = Keys::read(br#"{"AccessKeyId":"A","SecretAccessKey":"s"}"#).unwrap();
        assert!(keys.session_token.is_none() && !keys.expire(Timestamp::MAX));
    }

    #[test]
    fn what_is_none_is_told_without_what_is_there() {
        for (text, why) in [
            ("hidden", "it is not JSON"),
            (
                r#"{"Version":2,"AccessKeyId":"hidden","SecretAccessKey":"hidden"}"#,
                "Version is not 1",
            ),
            (r#"{"AccessKeyId":"hidden"}"#, "no AccessKeyId and SecretAccessKey"),
            (
                r#"{"AccessKeyId":"A","SecretAccessKey":"hidden","Expiration":"hidden"}"#,
                "an Expiration",
            ),
            (
                r#"{"AccessKeyId":"A","SecretAccessKey":"hid\nden"}"#,
                "characters that a key can't have",
            ),
            (r#"{"AccessKeyId":"A","SecretAccessKey":""}"#, "is empty"),
            (r#"{"AccessKeyId":"A","SecretAccessKey":"hidden","SessionToken":""}"#, "is empty"),
        ] {
            let told = Keys::read(text.as_bytes()).unwrap_err();
            assert!(told.contains(why) && !told.contains("hid"), "{told}");
        }
        let shown = format!("{:?}", Keys::read(IOT.as_bytes()).unwrap());
        assert!(!shown.contains("\"s\"") && !shown.contains("\"t\""), "{shown}");
    }
}
