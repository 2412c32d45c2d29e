//! What a device is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tufline_client::Limits;

use crate::failure::Failure;
use crate::run::RunSettings;

/// What a device is told: where its repository is, and how to ask.
///
/// In a file (TOML) the names have dashes: `metadata-url = "https://…"`. Paths are as they are given, from the folder of the process.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The folder in which it keeps metadata from one update to the next. Losing it loses the protection against rollbacks.
    pub metadata_dir: PathBuf,
    /// The folder below which the repository's metadata is.
    #[serde(default)]
    pub metadata_url: String,
    /// The folder below which its targets are. By default the folder `targets` beside that of the metadata.
    #[serde(default)]
    pub targets_url: Option<String>,
    /// The folder below which the chunks of its targets are, if the repository makes such. By default the folder `chunks` beside that of the targets.
    #[serde(default)]
    pub chunks_url: Option<String>,
    /// Where packs are asked for, if the repository makes such (`/pack` beside the metadata): one answer with all that an update needs. What doesn't come
    /// in it is asked for by name.
    #[serde(default)]
    pub pack_url: Option<String>,
    /// The root that came with the device's image, which is trusted from then on (`init` does the same once).
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// How the device shows who it is.
    #[serde(default)]
    pub identity: Identity,
    /// The AWS region of the API, for which requests are signed ([`Identity::Keys`], [`Identity::Iot`]). By default the one in the host of `metadata_url`.
    #[serde(default)]
    pub region: Option<String>,
    /// Certificates (PEM) of whom to trust with TLS, in place of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// It tries so often in a row without getting anywhere.
    #[serde(default = "default_tries")]
    pub tries: u32,
    /// It gives up after so many seconds, for all that is asked of it at once.
    #[serde(default = "default_deadline")]
    pub deadline: u64,
    /// So many bytes come over the network at most, for all that is asked of it at once: bodies of answers, as they are sent. What would take more is not
    /// asked for, or broken off.
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// What comes more slowly than so many bytes a second, over half a minute, is broken off and asked for again.
    #[serde(default = "default_slowest")]
    pub slowest: u64,
    /// So many days a timestamp of this repository is valid at most, from which follows when it was signed at the latest: a clock that is behind that is put
    /// forward.
    #[serde(default = "default_longest_timestamp")]
    pub longest_timestamp_days: u32,
    /// Believes the clock, even where it is behind what was built and signed.
    #[serde(default)]
    pub believe_clock: bool,
    /// A document of the repository has so many bytes at most. Reading one takes up to 30 times its length of memory.
    #[serde(default = "default_largest_document")]
    pub largest_document: usize,
    /// What it installs, where it keeps itself up to date.
    #[serde(default)]
    pub run: Option<RunSettings>,
}

/// How a device shows who it is. Nothing of this is sent to a server that the first one points to. A token or a key that is refused is read or asked for
/// once more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Identity {
    /// It doesn't.
    #[default]
    None,
    /// A bearer token in this file (RFC 6750).
    Token(PathBuf),
    /// A bearer token that this program writes, with these arguments, within half a minute.
    TokenCommand(Vec<String>),
    /// A client certificate (mutual TLS), and its key, both as PEM.
    Certificate {
        /// The certificate, with those between it and the server's trust, if any.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// Signatures (SigV4) with the keys of an AWS identity that this file has as AWS's tools write it: JSON with `AccessKeyId`, `SecretAccessKey`, and for
    /// keys for a while `SessionToken` and `Expiration`. It is read again shortly before they expire.
    Keys(PathBuf),
    /// Signatures (SigV4) with keys from the credentials provider of AWS IoT Core, which gives them to whom it knows by a certificate. They are asked for
    /// again shortly before they expire.
    Iot {
        /// Its host: what `aws iot describe-endpoint --endpoint-type iot:CredentialProvider` answers.
        endpoint: String,
        /// The role alias.
        role_alias: String,
        /// The name of the device's thing, where the role's policy has variables of things.
        #[serde(default)]
        thing: Option<String>,
        /// The device's certificate (PEM).
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
}

impl Settings {
    /// With this folder, and all else as by default.
    #[must_use]
    pub fn new(metadata_dir: PathBuf) -> Self {
        Self {
            metadata_dir,
            metadata_url: String::new(),
            targets_url: None,
            chunks_url: None,
            pack_url: None,
            root: None,
            identity: Identity::None,
            region: None,
            ca: None,
            tries: default_tries(),
            deadline: default_deadline(),
            max_bytes: None,
            slowest: default_slowest(),
            longest_timestamp_days: default_longest_timestamp(),
            believe_clock: false,
            largest_document: default_largest_document(),
            run: None,
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Failure::File`]; [`Failure::Settings`] with the line that isn't one.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(Failure::file("read", path))?;
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map(|span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
            let line = line.map(|line| format!(" line {line}")).unwrap_or_default();
            Failure::Settings(format!("{}{line}: {}", path.display(), error.message()))
        })
    }

    /// The URL of a document.
    pub(crate) fn metadata(&self, path: &str) -> Result<String, Failure> {
        if self.metadata_url.is_empty() {
            return Err(Failure::Settings("no metadata URL is given: set metadata-url".to_owned()));
        }
        Ok(below(&self.metadata_url, path))
    }

    /// The URL of a target.
    pub(crate) fn target(&self, path: &str) -> Result<String, Failure> {
        Ok(below(&self.targets()?, path))
    }

    fn targets(&self) -> Result<String, Failure> {
        match &self.targets_url {
            Some(url) => Ok(url.clone()),
            None => Ok(beside(&self.metadata("")?, "targets")),
        }
    }

    /// The URL of a target's chunks, which lie as the target does.
    pub(crate) fn chunks(&self, path: &str) -> Result<String, Failure> {
        match &self.chunks_url {
            Some(url) => Ok(below(url, path)),
            None => Ok(below(&beside(&self.targets()?, "chunks"), path)),
        }
    }

    /// The URL of a pack, if packs are asked for.
    pub(crate) fn pack(&self, query: &str) -> Option<String> {
        let url = self.pack_url.as_ref()?;
        Some(format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' }))
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { snapshot: self.largest_document, targets: self.largest_document, ..Limits::default() }
    }

    pub(crate) fn longest_timestamp(&self) -> Duration {
        Duration::from_hours(24 * u64::from(self.longest_timestamp_days))
    }
}

/// A percent-encoded path below a URL. What follows a `?` in that goes with every request: whoever stores files for others lets them in by that.
fn below(url: &str, path: &str) -> String {
    let (folder, query) = url.split_once('?').map_or((url, None), |(folder, query)| (folder, Some(query)));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{path}{query}", folder.trim_end_matches('/'))
}

/// The folder of this name beside that of a URL.
fn beside(url: &str, name: &str) -> String {
    let (folder, query) = url.split_once('?').map_or((url, None), |(folder, query)| (folder, Some(query)));
    let around = folder.trim_end_matches('/').rsplit_once('/').map_or(folder, |(around, _)| around);
    let query = query.filter(|query| !query.is_empty()).map(|query| format!("?{query}")).unwrap_or_default();
    format!("{around}/{name}{query}")
}

fn default_largest_document() -> usize {
    Limits::default().targets
}

fn default_tries() -> u32 {
    10
}

fn default_deadline() -> u64 {
    24 * 3600
}

fn default_slowest() -> u64 {
    500
}

fn default_longest_timestamp() -> u32 {
    30
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let mut settings = Settings::new("m".into());
        for (metadata, targets, document, target) in [
            ("https://h/metadata", None, "https://h/metadata/1.root.json", "https://h/targets/a/b"),
            ("https://h/x/metadata/", None, "https://h/x/metadata/1.root.json", "https://h/x/targets/a/b"),
            (
                "http://[::1]:80/m?sig=1",
                None,
                "http://[::1]:80/m/1.root.json?sig=1",
                "http://[::1]:80/targets/a/b?sig=1",
            ),
            ("https://h/m", Some("https://t?s"), "https://h/m/1.root.json", "https://t/a/b?s"),
        ] {
            settings.metadata_url = metadata.to_owned();
            settings.targets_url = targets.map(str::to_owned);
            assert_eq!(settings.metadata("1.root.json").unwrap(), document);
            assert_eq!(settings.target("a/b").unwrap(), target);
            if targets.is_none() {
                assert_eq!(settings.chunks("a/b").unwrap(), target.replace("/targets/", "/chunks/"));
            }
        }
        assert_eq!(settings.pack("have="), None);
        for (url, pack) in
            [("https://h/pack", "https://h/pack?have="), ("https://h/pack?sig=1", "https://h/pack?sig=1&have=")]
        {
            settings.pack_url = Some(url.to_owned());
            assert_eq!(settings.pack("have=").as_deref(), Some(pack));
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.toml");
        for (text, why) in [
            ("metadata-dir = \"m\"\nmetadata-ur = \"x\"", "line 2: unknown field `metadata-ur`"),
            ("metadata-dir = 3", "line 1: invalid type"),
            ("", "missing field `metadata-dir`"),
            ("metadata-dir = \"m\"\nidentity = \"face\"", "line 2: unknown variant `face`"),
            ("metadata-dir = \"m\"\nidentity.iot = { endpoint = \"e\" }", "line 2: missing field `role-alias`"),
            (
                "metadata-dir = \"m\"\nidentity.iot = { endpoint = \"e\", thin = \"t\" }",
                "line 2: unexpected keys in table: thin",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Settings::read(&path).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("device.toml"), "{error}");
        }
        std::fs::write(&path, "metadata-dir = \"m\"\nidentity.certificate = { certificate = \"c\", key = \"k\" }")
            .unwrap();
        let Identity::Certificate { key, .. } = Settings::read(&path).unwrap().identity else { panic!() };
        assert_eq!(key, Path::new("k"));
        let iot = "{ endpoint = \"e\", role-alias = \"a\", certificate = \"c\", key = \"k\" }";
        std::fs::write(&path, format!("metadata-dir = \"m\"\nidentity.iot = {iot}")).unwrap();
        let Identity::Iot { role_alias, thing, .. } = Settings::read(&path).unwrap().identity else { panic!() };
        assert_eq!((&*role_alias, thing), ("a", None));
    }
}
