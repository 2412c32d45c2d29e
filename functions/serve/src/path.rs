//! Parses which stored object a path asks for.

use percent_encoding::percent_decode_str;
use tufline_store::Key;
use tufline_tuf::{Sha256, TargetName};

/// The object that a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A metadata file, stored under this key.
    Metadata(Key),
    /// A target's bytes. There are two digests if the path can be read in both layouts.
    Target(Vec<Sha256>),
    /// The chunks of a target. There are two digests in the same case as for the bytes.
    Chunks(Vec<Sha256>),
}

/// Percent-decodes the path of a request line. A caller whose paths are decoded already (API
/// Gateway's `rawPath`) must not use it: a path is decoded exactly once.
///
/// `None` if a `%` is not followed by two hex digits, or the result is not UTF-8.
#[must_use]
pub fn decode(raw: &str) -> Option<String> {
    let mut parts = raw.split('%');
    parts.next();
    let sound = parts
        .all(|part| part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()));
    sound.then(|| percent_decode_str(raw).decode_utf8().ok().map(std::borrow::Cow::into_owned))?
}

impl Resource {
    /// The object that the decoded `path` asks for; `None` if nothing can ever be stored under that
    /// path.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        if let Some(target) = path.strip_prefix("targets/") {
            return digests(target).map(Self::Target);
        }
        if let Some(target) = path.strip_prefix("chunks/") {
            return digests(target).map(Self::Chunks);
        }
        if !path.starts_with("metadata/") {
            return None;
        }
        Key::parse(path).map(Self::Metadata)
    }
}

/// With consistent snapshots, a target's path contains its digest (TUF specification 6.2).
/// python-tuf, tuf-js and go-tuf put it in front of the last segment, tough in front of the
/// whole path.
fn digests(path: &str) -> Option<Vec<Sha256>> {
    let (folder, file) =
        path.rsplit_once('/').map_or((None, path), |(folder, file)| (Some(folder), file));
    let of_file = digest(file).and_then(|(sha256, file)| {
        let name = folder.map_or_else(|| file.to_owned(), |folder| format!("{folder}/{file}"));
        is_name(&name).then_some(sha256)
    });
    let of_path = digest(path).and_then(|(sha256, name)| is_name(name).then_some(sha256));
    let mut digests: Vec<Sha256> = of_file.into_iter().chain(of_path).collect();
    digests.dedup();
    (!digests.is_empty()).then_some(digests)
}

fn digest(text: &str) -> Option<(Sha256, &str)> {
    let (sha256, rest) = text.split_once('.')?;
    Some((sha256.parse().ok()?, rest))
}

fn is_name(name: &str) -> bool {
    name.parse::<TargetName>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_strictly() {
        assert_eq!(decode("/targets/a%2Bb+c%C3%A9").as_deref(), Some("/targets/a+b+cé"));
        assert_eq!(decode("/a%252e").as_deref(), Some("/a%2e"), "once only");
        for raw in ["/%", "/%2", "/%zz", "/%+1", "/a%ff", "/%C3", "/%%41"] {
            assert_eq!(decode(raw), None, "{raw}");
        }
    }

    #[test]
    fn metadata_has_one_spelling() {
        assert_eq!(
            Resource::of("/metadata/timestamp.json"),
            Some(Resource::Metadata(Key::Timestamp))
        );
        assert_eq!(Resource::of("/metadata/12.root.json"), Some(Resource::Metadata(Key::root(12))));
        for path in [
            "/metadata/",
            "/metadata",
            "/metadata/root.json",
            "/metadata/012.root.json",
            "/metadata/x/../timestamp.json",
            "//metadata/timestamp.json",
            "metadata/timestamp.json",
            "/blobs/0",
            "/generations/00000000000000000001.json",
            "/",
            "",
        ] {
            assert_eq!(Resource::of(path), None, "{path}");
        }
    }

    #[test]
    fn both_layouts_lead_to_the_same_blob() {
        let sha256 = Sha256::of(b"a");
        for path in [
            "DIGEST.file",
            "dir/sub/DIGEST.file.bin",
            "DIGEST.dir/sub/file.bin",
            "DIGEST.dir.d/DIGEST.file",
        ] {
            let path = path.replace("DIGEST", &sha256.to_string());
            assert_eq!(
                Resource::of(&format!("/targets/{path}")),
                Some(Resource::Target(vec![sha256])),
                "{path}"
            );
            assert_eq!(
                Resource::of(&format!("/chunks/{path}")),
                Some(Resource::Chunks(vec![sha256])),
                "{path}"
            );
        }
        let other = Sha256::of(b"b");
        let path = format!("/targets/{sha256}.dir/{other}.file");
        assert_eq!(Resource::of(&path), Some(Resource::Target(vec![other, sha256])));
    }

    #[test]
    fn what_is_no_target_is_not_found() {
        let sha256 = Sha256::of(b"a");
        for path in [
            "",
            "file",
            "DIGEST",
            "DIGEST.",
            "dir/DIGEST",
            "../DIGEST.file",
            "dir/../DIGEST.file",
            "DIGEST./file",
            "DIGEST.dir/../file",
            "dir//DIGEST.file",
            "/DIGEST.file",
            "DIGEST.a b",
        ] {
            let path = path.replace("DIGEST", &sha256.to_string());
            for folder in ["targets", "chunks", "blobs"] {
                assert_eq!(Resource::of(&format!("/{folder}/{path}")), None, "{folder} {path}");
            }
        }
        let upper = format!("/targets/{}.file", sha256.to_string().to_uppercase());
        assert_eq!(Resource::of(&upper), None);
    }
}
