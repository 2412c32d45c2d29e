//! Restores the order of an object's versions and delete markers, which the SDK loses.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

/// The kind of an entry in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HistoryEntry {
    /// `<Version>`
    Version,
    /// `<DeleteMarker>`
    Marker,
}

/// Reads the order of versions and delete markers in a `ListObjectVersions` answer.
///
/// S3 "returns object versions in the order in which they were stored, with the most recently
/// stored returned first"
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/list-obj-version-enabled-bucket.html>),
/// versions and delete markers in one sequence. The SDK sorts them into two lists (as the SDKs for
/// other languages do: <https://github.com/aws/aws-sdk-java-v2/issues/1620>), and no field restores
/// the sequence. `LastModified` has only whole seconds, and for a multipart upload it is the time
/// when the upload began, perhaps long before a delete marker beneath it
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>). So the sequence is
/// read from the answer's body.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListingOrder(Arc<Mutex<Vec<HistoryEntry>>>);

impl ListingOrder {
    /// The sequence in the answer to the intercepted request.
    pub(crate) fn entries(&self) -> Vec<HistoryEntry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Intercept for ListingOrder {
    fn name(&self) -> &'static str {
        "ListingOrder"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = entries(body);
        Ok(())
    }
}

/// The entries of a listing, by their opening tags. XML writes `<` in text always as `&lt;`, so
/// nothing else looks like a tag.
fn entries(xml: &[u8]) -> Vec<HistoryEntry> {
    xml.split(|byte| *byte == b'<')
        .filter_map(|tag| {
            let name = tag.split(|byte| matches!(byte, b'>' | b' ')).next()?;
            match name {
                b"Version" => Some(HistoryEntry::Version),
                b"DeleteMarker" => Some(HistoryEntry::Marker),
                _ => None,
            }
        })
        .collect()
}

/// Merges the SDK's two lists in the given order; `None` if the order doesn't fit them.
pub(crate) fn mix<T>(
    order: &[HistoryEntry],
    versions: impl IntoIterator<Item = T>,
    markers: impl IntoIterator<Item = T>,
) -> Option<Vec<T>> {
    let (mut versions, mut markers) = (versions.into_iter(), markers.into_iter());
    let mixed = order
        .iter()
        .map(|entry| match entry {
            HistoryEntry::Version => versions.next(),
            HistoryEntry::Marker => markers.next(),
        })
        .collect::<Option<Vec<T>>>()?;
    (versions.next().is_none() && markers.next().is_none()).then_some(mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_read_from_the_answer() {
        let xml = br#"<?xml version="1.0"?><ListVersionsResult xmlns="x"><KeyMarker></KeyMarker><Version><Key>a&lt;DeleteMarker&gt;</Key>
            <VersionId>3</VersionId></Version><DeleteMarker><Key>a</Key><VersionId>2</VersionId></DeleteMarker>
            <Version ><VersionId>1</VersionId></Version><NextVersionIdMarker>1</NextVersionIdMarker></ListVersionsResult>"#;
        assert_eq!(
            entries(xml),
            [HistoryEntry::Version, HistoryEntry::Marker, HistoryEntry::Version]
        );
        assert_eq!(entries(b""), []);
    }

    #[test]
    fn the_lists_are_mixed_or_refused() {
        let order = [
            HistoryEntry::Version,
            HistoryEntry::Marker,
            HistoryEntry::Marker,
            HistoryEntry::Version,
        ];
        assert_eq!(mix(&order, [4, 1], [3, 2]), Some(vec![4, 3, 2, 1]));
        assert_eq!(mix(&order, [4], [3, 2]), None);
        assert_eq!(mix(&order, [4, 1, 0], [3, 2]), None);
        assert_eq!(mix(&order, [4, 1], [3, 2, 0]), None);
        assert_eq!(mix::<u8>(&[], [], []), Some(vec![]));
    }
}
