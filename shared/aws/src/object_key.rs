//! Object keys as S3 encodes them outside a URL's path.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tufline_store::VersionId;

/// The longest key that S3 allows, in bytes of UTF-8
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
pub(crate) const LONGEST_KEY: usize = 1024;

const COPY_SOURCE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The header `x-amz-copy-source`: `bucket/key?versionId=…`, "the value must be URL-encoded"
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>).
pub(crate) fn copy_source(bucket: &str, key: &str, version: Option<&VersionId>) -> String {
    let object = format!("{bucket}/{}", utf8_percent_encode(key, COPY_SOURCE));
    match version {
        Some(version) => {
            format!("{object}?versionId={}", utf8_percent_encode(&version.0, COPY_SOURCE))
        }
        None => object,
    }
}

/// Decodes a key from a listing with `encoding-type=url`: percent-encoded, with `+` for a space.
/// `None` if it isn't UTF-8.
///
/// Without that encoding, a single key with a control character, which XML 1.0 cannot hold, would
/// make the whole listing unreadable
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>).
pub(crate) fn from_listing(key: &str) -> Option<String> {
    percent_decode_str(&key.replace('+', " ")).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_sources_are_encoded() {
        let version = VersionId("a+b/c=".into());
        assert_eq!(copy_source("b", "targets/a b+é?.bin", None), "b/targets/a%20b%2B%C3%A9%3F.bin");
        assert_eq!(copy_source("b", "k", Some(&version)), "b/k?versionId=a%2Bb/c%3D");
    }

    #[test]
    fn listed_keys_are_decoded() {
        assert_eq!(from_listing("targets/a+b%2Bc%01%C3%A9").unwrap(), "targets/a b+c\u{1}é");
        assert_eq!(from_listing("%FF"), None);
    }
}
