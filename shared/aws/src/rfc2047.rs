//! Decodes user metadata outside ASCII, which S3 returns in the form of mail headers.
//!
//! When this happens: "When using non-US-ASCII characters in your metadata values, the provided
//! Unicode string is examined for non-US-ASCII characters. Values of such headers are character
//! decoded as per RFC 2047 before storing and encoded as per RFC 2047 to make them mail-safe before
//! returning"
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html#UserMetadata>). So
//! custom metadata such as `{"name": "Zürich"}` comes back in this form, on S3 only. Without this
//! module the upload would be refused, since that is not JSON.
//!
//! Why not a library: `rfc2047-decoder` 1.1 (MIT), the only one for just this, decodes each word
//! alone, so it loses a character that S3 cut between two words. It also decodes words within other
//! text, which S3 never makes, and so changes what was uploaded. It brings the crates of a parser
//! and of character sets, one of which needs a C compiler. And the Latin-1 layer would still have
//! to be undone here.

use aws_smithy_types::base64;

/// The text that the uploader wrote as a value of user metadata.
///
/// S3 encodes the whole value, as one or more words `=?UTF-8?B?…?=` or `=?UTF-8?Q?…?=`, or returns
/// it as it is. No JSON object begins like such a word, so this never decodes a value that S3
/// didn't encode.
///
/// AWS's own example shows a second layer: S3 read the UTF-8 bytes on the wire as Latin-1. This is
/// undone if the text has no character above U+00FF and its bytes in Latin-1 are UTF-8.
pub(crate) fn decode(value: &str) -> String {
    let Some(text) = decode_words(value) else { return value.to_owned() };
    let latin1: Option<Vec<u8>> =
        text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect();
    latin1.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(text)
}

/// Decodes a value that consists only of encoded words in UTF-8; `None` for any other.
fn decode_words(value: &str) -> Option<String> {
    let mut bytes = Vec::new();
    // RFC 2047, section 6.2: white space between two words is not part of the text. A character may
    // be cut between two words, against its section 5, so the bytes are joined first.
    for word in value.split_ascii_whitespace() {
        let mut parts = word.strip_prefix("=?")?.strip_suffix("?=")?.splitn(3, '?');
        let (charset, encoding, text) = (parts.next()?, parts.next()?, parts.next()?);
        if !charset.eq_ignore_ascii_case("utf-8") {
            return None;
        }
        match encoding {
            "B" | "b" => bytes.extend(base64::decode(text).ok()?),
            "Q" | "q" => decode_q(text, &mut bytes)?,
            _ => return None,
        }
    }
    if bytes.is_empty() { None } else { String::from_utf8(bytes).ok() }
}

/// Decodes the Q encoding (RFC 2047, section 4.2).
fn decode_q(text: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'_' => b' ',
            b'=' => {
                let digit = |byte: Option<u8>| {
                    char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
                };
                16 * digit(rest.next())? + digit(rest.next())?
            }
            byte => byte,
        });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_values_stay() {
        for value in [
            "",
            " ",
            r#"{"a": "=?UTF-8?B?w6k=?="}"#,
            "=?UTF-8?B?",
            "=?UTF-8?X?a?=",
            "=?ISO-8859-1?Q?=E9?=",
            "=?utf-8?q?=E?=",
        ] {
            assert_eq!(decode(value), value);
        }
    }

    #[test]
    fn words_are_joined() {
        assert_eq!(decode("=?UTF-8?Q?{=22a=22:_=22=E2=82=ac=22}?="), r#"{"a": "€"}"#);
        assert_eq!(
            decode("=?utf-8?B?4oI=?= =?utf-8?b?rA==?="),
            "€",
            "a character cut between two words"
        );
    }

    /// The example on AWS's page: `ÄMÄZÕÑ S3` went in.
    #[test]
    fn bytes_read_as_latin1_are_corrected() {
        assert_eq!(decode("=?UTF-8?B?w4PChE3Dg8KEWsODwpXDg8KRIFMz?="), "ÄMÄZÕÑ S3");
        assert_eq!(
            decode("=?UTF-8?B?w4RNw4Raw5XDkSBTMw==?="),
            "ÄMÄZÕÑ S3",
            "once encoded is once decoded"
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(text in "\\{\"a\": \"[ -~€\u{100}-\u{2000}]{1,40}€\"\\}") {
            let word = |bytes: &[u8]| format!("=?UTF-8?B?{}?=", base64::encode(bytes));
            let (front, back) = text.as_bytes().split_at(text.len() / 2);
            prop_assert_eq!(decode(&format!("{} {}", word(front), word(back))), text.clone());
            let q = text.bytes().fold(String::new(), |q, byte| format!("{q}={byte:02X}"));
            prop_assert_eq!(decode(&format!("=?UTF-8?Q?{q}?=")), text);
        }

        #[test]
        fn no_value_panics(value in "(=\\?)?(UTF-8)?\\??[BQ]?\\??\\PC{0,20}(\\?=)?") {
            decode(&value);
        }
    }
}
