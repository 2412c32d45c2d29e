//! Reads a part of an object.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::{Bytes, BytesMut};
use tufline_store::{ErrorKind, Key, Result as StoreResult};

use crate::failure::{RequestError, code, failed, status};

/// The header `Range` for `length` bytes from `offset`; `None` for an empty range, which HTTP
/// cannot express (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>).
pub(crate) fn header(offset: u64, length: u64) -> Option<String> {
    let last = offset.saturating_add(length.checked_sub(1)?);
    Some(format!("bytes={offset}-{last}"))
}

/// Reads at most `length` bytes (more than 0) of an object from `offset`; `None` if it is missing.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>: 416 if nothing is left
/// from `offset` on.
pub(crate) async fn read(
    client: &Client,
    bucket: &str,
    key: &Key,
    offset: u64,
    length: u64,
) -> StoreResult<Option<Bytes>> {
    let place = || format!("s3://{bucket}/{key}");
    let request =
        client.get_object().bucket(bucket).key(key.path()).set_range(header(offset, length));
    match request.send().await {
        Ok(answer) => match cut(answer, offset, length, BytesMut::new()).await {
            Ok(bytes) => Ok(Some(bytes.freeze())),
            Err(error) => Err(error.of("read", place())),
        },
        Err(error) if status(&error) == Some(416) => Ok(Some(Bytes::new())),
        Err(error) if code(&error) == Some("NoSuchKey") => Ok(None),
        Err(error) => Err(failed("read", place(), error)),
    }
}

/// The requested bytes, out of an answer that may hold more.
///
/// RFC 9110, section 14.2: "A server MAY ignore the Range header field". S3 never does. An emulator
/// does if the request also names a version, and answers the whole object without `Content-Range`.
pub(crate) async fn cut(
    answer: GetObjectOutput,
    offset: u64,
    length: u64,
    mut taken: BytesMut,
) -> Result<BytesMut, RequestError> {
    let mut skip = match answer.content_range() {
        None => offset,
        Some(range) if first_byte(range) == Some(offset) => 0,
        Some(range) => {
            let why = format!("asked for the bytes from {offset} on, but got '{range}'; try again");
            return Err(RequestError::told(ErrorKind::Corrupt, why));
        }
    };
    let too_many = |_| {
        RequestError::told(
            ErrorKind::Invalid,
            format!("{length} bytes are too many to hold; read fewer"),
        )
    };
    let length = usize::try_from(length).map_err(too_many)?;
    let announced =
        answer.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let mut body = answer.body;
    taken.clear();
    // Reserved in one piece from the start: growing the buffer would take twice the memory.
    taken.reserve(announced.min(length));
    while taken.len() < length {
        let Some(chunk) = body.next().await else { break };
        let mut chunk = chunk.map_err(RequestError::unanswered)?;
        let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
        skip -= skipped as u64;
        let chunk = chunk.split_off(skipped);
        taken.extend_from_slice(&chunk[..chunk.len().min(length - taken.len())]);
    }
    Ok(taken)
}

/// The first byte of a `Content-Range`: 5 for `bytes 5-9/20`.
fn first_byte(content_range: &str) -> Option<u64> {
    content_range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::primitives::ByteStream;

    #[test]
    fn ranges_end_with_their_last_byte() {
        assert_eq!(header(5, 5).unwrap(), "bytes=5-9");
        assert_eq!(header(0, 1).unwrap(), "bytes=0-0");
        assert_eq!(header(0, 0), None);
    }

    #[tokio::test]
    async fn a_whole_object_is_cut_and_a_part_is_not() {
        let answer = |range: Option<&str>, body: &'static [u8]| {
            GetObjectOutput::builder()
                .set_content_range(range.map(Into::into))
                .body(ByteStream::from_static(body))
                .build()
        };
        assert_eq!(
            cut(answer(None, b"0123456789"), 3, 4, BytesMut::from("old")).await.unwrap(),
            "3456"
        );
        assert_eq!(
            cut(answer(None, b"0123456789"), 8, 4, BytesMut::from("old")).await.unwrap(),
            "89"
        );
        assert_eq!(
            cut(answer(None, b"0123456789"), 20, 4, BytesMut::from("old")).await.unwrap(),
            ""
        );
        assert_eq!(
            cut(answer(Some("bytes 3-6/10"), b"3456"), 3, 4, BytesMut::from("old")).await.unwrap(),
            "3456"
        );
        assert!(
            cut(answer(Some("bytes 0-9/10"), b"0123456789"), 3, 4, BytesMut::from("old"))
                .await
                .is_err()
        );
    }
}
