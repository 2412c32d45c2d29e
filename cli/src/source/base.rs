//! Where a repository's files are: a URL or a folder, as the user names it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use clap::builder::{OsStringValueParser, TypedValueParser};
use url::Url;

use crate::failure::one_line;
use crate::text;

/// An argument that begins like this is a URL. Anything else is a path, taken literally: a `%20` in
/// it stays `%20`.
const SCHEMES: [&str; 3] = ["http://", "https://", "file://"];

/// A URL or a folder that holds a repository's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A URL that ends in a slash. Every request repeats its query: some storage services authorize
    /// requests by it (<https://learn.microsoft.com/rest/api/storageservices/create-service-sas>).
    Web(Url),
    /// A folder.
    Folder(PathBuf),
}

impl Base {
    /// clap's parser of an argument.
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new()
            .try_map(|given: OsString| Self::parse(&given).map_err(|error| one_line(&error)))
    }

    /// Parses an argument: a URL of a known scheme, or else a path.
    pub fn parse(given: &OsStr) -> anyhow::Result<Self> {
        let begins = |text: &&str, scheme: &str| {
            text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
        };
        let is_url = |text: &&str| SCHEMES.iter().any(|scheme| begins(text, scheme));
        if let Some(text) = given.to_str().filter(is_url) {
            return Self::of(text.parse().map_err(|error| anyhow!("it is not a URL: {error}"))?);
        }
        let is_scheme = |text: &str| {
            text.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
        };
        if let Some((scheme, _)) = given.to_str().and_then(|text| text.split_once("://"))
            && is_scheme(scheme)
            && !Path::new(given).exists()
        {
            bail!(
                "{scheme} is a scheme that this command doesn't know: give an http, https or file \
                 URL, or the path of a folder"
            );
        }
        Ok(Self::Folder(
            std::path::absolute(given).map_err(|error| anyhow!("it is not a path: {error}"))?,
        ))
    }

    /// The base that a URL means; a slash at its end makes no difference.
    pub fn of(mut url: Url) -> anyhow::Result<Self> {
        if url.fragment().is_some() {
            bail!(
                "the URL of a repository must not contain '#', since no server gets what follows \
                 it; in a name write %23"
            );
        }
        if url.scheme() == "file" {
            if url.query().is_some() {
                bail!("a file URL must not contain '?'; in a name write %3F");
            }
            return match url.to_file_path() {
                Ok(folder) => Ok(Self::Folder(folder)),
                Err(()) => bail!("{url} names no folder of this machine"),
            };
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self::Web(url))
    }

    /// The folder `name` beside this one.
    pub fn beside(&self, name: &str) -> Self {
        match self {
            Self::Folder(folder) => Self::Folder(folder.parent().unwrap_or(folder).join(name)),
            Self::Web(url) => {
                Self::Web(below(url, &format!("../{name}/")).unwrap_or_else(|_| url.clone()))
            }
        }
    }
}

/// For people, so without credentials.
impl fmt::Display for Base {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => formatter.write_str(&text::path(folder)),
            Self::Web(url) => formatter.write_str(&without_secrets(url.as_str(), url)),
        }
    }
}

/// The URL of the percent-encoded `path` below a base, with the base's query.
pub fn below(base: &Url, path: &str) -> Result<Url, url::ParseError> {
    let mut url = base.join(path)?;
    url.set_query(base.query());
    Ok(url)
}

/// A text about `url` without the parts that may be secret: the user info and the query.
pub fn without_secrets(text: &str, url: &Url) -> String {
    let mut text = text.to_owned();
    if let Some(query) = url.query().filter(|query| !query.is_empty()) {
        text = text.replace(query, "…");
    }
    if let Some((user, _)) = url.authority().rsplit_once('@') {
        text = text.replace(&format!("{user}@"), "");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt;

    proptest! {
        /// A path means itself, whatever characters it has, and so does its file URL.
        #[test]
        fn a_path_means_itself(
            parts in prop::collection::vec(
                prop::collection::vec(prop_oneof![1..=255_u8, prop::sample::select(b"% ?#25/:-".to_vec())], 1..8), 1..4)
        ) {
            let bytes = [b"/", &parts.join(&b'/')[..]].concat();
            let path = Path::new(OsStr::from_bytes(&bytes));
            let absolute = std::path::absolute(path).unwrap();
            prop_assert_eq!(Base::parse(path.as_os_str()).unwrap(), Base::Folder(absolute.clone()));
            // URLs resolve these segments.
            prop_assume!(!path.components().any(|part| matches!(part, std::path::Component::ParentDir)));
            let url = Url::from_directory_path(&absolute).unwrap();
            let Base::Folder(read) = Base::parse(url.as_str().as_ref()).unwrap() else { panic!("{url}") };
            prop_assert_eq!(read.components().collect::<Vec<_>>(), absolute.components().collect::<Vec<_>>(), "{}", url);
        }

        /// Whatever a segment of a target's name is, the server gets exactly that segment below the
        /// base, with the base's query.
        #[test]
        fn a_name_stays_below_its_base(name in "[^/]{1,12}", query in prop::option::of("[a-z]{1,3}=[a-zA-Z0-9%]{0,8}")) {
            prop_assume!(name != "." && name != "..");
            let given = format!("http://u:p@[::1]:8080/a%20b{}", query.as_ref().map(|query| format!("?{query}")).unwrap_or_default());
            let Base::Web(base) = Base::parse(given.as_ref()).unwrap() else { panic!() };
            let url = below(&base, &tufline_metadata::escaped(&name)).unwrap();
            prop_assert_eq!(url.query(), base.query());
            prop_assert_eq!((url.host_str(), url.port(), url.fragment()), (Some("[::1]"), Some(8080), None));
            let last = url.path().strip_prefix("/a%20b/").unwrap();
            prop_assert_eq!(percent_encoding::percent_decode_str(last).decode_utf8().unwrap(), name);
        }

        /// No argument makes the parser panic.
        #[test]
        fn nothing_panics(given in prop_oneof![".{0,40}", "(http|https|file|s3)://.{0,40}"]) {
            _ = Base::parse(given.as_ref()).map(|base| (base.to_string(), base.beside("targets")));
        }
    }

    #[test]
    fn what_is_a_url_and_what_is_a_path() {
        let here = std::env::current_dir().unwrap();
        let folder = |given: &str| Base::Folder(here.join(given));
        for given in ["My Repo", "My%20Repo", "a?b#c", "http:", "http:/x", "C:/repo", "file:x"] {
            assert_eq!(Base::parse(given.as_ref()).unwrap(), folder(given), "{given}");
        }
        assert_eq!(
            Base::parse("file:///My%20Repo".as_ref()).unwrap(),
            Base::Folder("/My Repo".into())
        );
        assert_eq!(
            Base::parse("file:///My%2520Repo/".as_ref()).unwrap(),
            Base::Folder("/My%20Repo/".into())
        );
        for (given, url, targets) in [
            ("http://h", "http://h/", "http://h/targets/"),
            ("HTTPS://h/metadata", "https://h/metadata/", "https://h/targets/"),
            (
                "https://h/m/?sv=1&sig=a%2Fb",
                "https://h/m/?sv=1&sig=a%2Fb",
                "https://h/targets/?sv=1&sig=a%2Fb",
            ),
            ("http://[::1]:80/m", "http://[::1]/m/", "http://[::1]/targets/"),
        ] {
            let base = Base::parse(given.as_ref()).unwrap();
            assert_eq!(base, Base::Web(url.parse().unwrap()));
            assert_eq!(base.beside("targets"), Base::Web(targets.parse().unwrap()));
        }
        for (given, why) in [
            ("http://h/#a", "'#'"),
            ("file:///a?b", "%3F"),
            ("file:///a#b", "%23"),
            ("file://other/a", "no folder of this machine"),
            ("http://", "not a URL"),
            ("http://[::1/", "not a URL"),
            ("s3://bucket/a", "s3 is a scheme"),
            ("", "not a path"),
        ] {
            let error = Base::parse(given.as_ref()).unwrap_err().to_string();
            assert!(error.contains(why), "{given}: {error}");
        }
        let secret = Base::parse("https://token:word@h/m?sv=1&sig=abc".as_ref()).unwrap();
        assert_eq!(secret.to_string(), "https://h/m/?…");
    }
}
