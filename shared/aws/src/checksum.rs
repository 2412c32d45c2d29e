//! S3's checksums, and which of them are the SHA-256 of a whole object.

use aws_sdk_s3::types::ChecksumType;
use aws_smithy_types::base64;
use tufline_tuf::Sha256;

/// The SHA-256 of a whole object, from the headers `x-amz-checksum-sha256` and
/// `x-amz-checksum-type`; `None` if they give no such digest.
///
/// A multipart object's checksum is the digest of its parts' digests: its type is `COMPOSITE`, and
/// it ends in `-N`
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>). The
/// type alone proves nothing: answers about older objects lack it, and one emulator calls a
/// composite checksum `FULL_OBJECT`.
pub(crate) fn whole_sha256(checksum: Option<&str>, kind: Option<&ChecksumType>) -> Option<Sha256> {
    if !matches!(kind, None | Some(ChecksumType::FullObject)) {
        return None;
    }
    // `-` is not a base64 digit, so a composite checksum fails here, whatever its type.
    let bytes: [u8; 32] = base64::decode(checksum?).ok()?.try_into().ok()?;
    Some(Sha256::from_bytes(bytes))
}

/// `sha256` in the form of S3's headers: base64.
pub(crate) fn to_header(sha256: &Sha256) -> String {
    base64::encode(sha256.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_digest_of_a_whole_object_is_accepted() {
        let digest = Sha256::of(b"bytes");
        let text = to_header(&digest);
        assert_eq!(whole_sha256(Some(&text), Some(&ChecksumType::FullObject)), Some(digest));
        assert_eq!(whole_sha256(Some(&text), None), Some(digest));
        assert_eq!(whole_sha256(Some(&text), Some(&ChecksumType::Composite)), None);
        assert_eq!(whole_sha256(Some(&text), Some(&ChecksumType::from("NEW"))), None);
        for other in
            [format!("{text}-2"), format!("{text}-1"), "YWJj".into(), String::new(), "?".into()]
        {
            assert_eq!(
                whole_sha256(Some(&other), Some(&ChecksumType::FullObject)),
                None,
                "{other}"
            );
            assert_eq!(whole_sha256(Some(&other), None), None, "{other}");
        }
        assert_eq!(whole_sha256(None, Some(&ChecksumType::FullObject)), None);
    }
}
