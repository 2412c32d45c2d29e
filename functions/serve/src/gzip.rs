//! Compresses metadata for clients that ask for it. No other client may get it compressed: tough,
//! for one, would take the compressed bytes for the file.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap};

/// The shortest file that is compressed, in bytes. A shorter one fits into one packet either way.
const WORTHWHILE: usize = 1024;

/// Whether `Accept-Encoding` names gzip itself (RFC 9110, section 12.5.3). `*` does not count: a
/// client that wants gzip names it.
pub fn is_accepted(fields: &HeaderMap) -> bool {
    let values =
        fields.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused = weight
            .trim()
            .strip_prefix("q=")
            .is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q == 0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

/// Whether compressing a file of `length` bytes is worth it.
pub fn is_worthwhile(length: usize) -> bool {
    length >= WORTHWHILE
}

/// Compresses `bytes`. The same input always gives the same output, so that a tag stays true.
pub fn pack(bytes: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_that_names_gzip_gets_it() {
        for (field, accepted) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5, br", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("identity", false),
            ("x-gzip", false),
            ("*", false),
            ("", false),
        ] {
            let fields = HeaderMap::from_iter([(header::ACCEPT_ENCODING, field.parse().unwrap())]);
            assert_eq!(is_accepted(&fields), accepted, "{field}");
        }
        assert!(!is_accepted(&HeaderMap::new()));
    }

    #[test]
    fn packed_bytes_are_the_same_each_time_and_unpack() {
        let bytes = b"metadata ".repeat(1000);
        let packed = pack(&bytes).unwrap();
        assert_eq!(pack(&bytes).unwrap(), packed);
        assert!(packed.len() < bytes.len() / 10);
        let mut unpacked = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut unpacked)
            .unwrap();
        assert!(unpacked == bytes);
        assert!(is_worthwhile(WORTHWHILE) && !is_worthwhile(WORTHWHILE - 1));
    }
}
