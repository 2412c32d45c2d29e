//! The settings of a device.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tufline_client::Limits;

use crate::failure::Failure;
use crate::run::RunSettings;

/// The settings of a device: where its repository is, and how to fetch from it.
///
/// In a settings file (TOML) the names have dashes: `metadata-url = "https://…"`. A relative path
/// starts at the working directory of the process.
///
/// ```
/// use tufline_device::Settings;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("device.toml");
/// std::fs::write(
///     &path,
///     r#"
///     metadata-url = "https://updates.example.com/metadata"
///     metadata-dir = "/var/lib/tufline-device"
///     root = "/usr/share/firmware/root.json"
///     "#,
/// )?;
/// let settings = Settings::read(&path)?;
/// assert_eq!(settings.tries, 10);
///
/// // An unknown name is refused, with its line.
/// std::fs::write(&path, "metadata-dir = \"m\"\nmetadata-ur = \"x\"")?;
/// assert!(Settings::read(&path).unwrap_err().to_string().contains("line 2"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The folder in which the device keeps metadata from one update to the next. A device that
    /// loses this folder loses its protection against rollbacks.
    pub metadata_dir: PathBuf,
    /// The URL of the folder with the repository's metadata.
    #[serde(default)]
    pub metadata_url: String,
    /// The URL of the folder with the repository's targets. Default: the folder `targets` beside
    /// that of the metadata.
    #[serde(default)]
    pub targets_url: Option<String>,
    /// The URL of the folder with the chunks of the targets, if the repository makes chunks.
    /// Default: the folder `chunks` beside that of the targets.
    #[serde(default)]
    pub chunks_url: Option<String>,
    /// The URL for packs, if the repository makes packs (`/pack` beside the metadata). A pack is
    /// one answer with everything that an update needs. The device fetches by name what a pack
    /// lacks.
    #[serde(default)]
    pub pack_url: Option<String>,
    /// The root that came with the device's image. The device trusts it from then on, as after a
    /// call of [`Device::init`](crate::Device::init).
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// How the device authenticates itself.
    #[serde(default)]
    pub identity: Identity,
    /// The AWS region of the API, for signatures ([`Identity::Keys`], [`Identity::Iot`]). Default:
    /// the region in the host of `metadata_url`.
    #[serde(default)]
    pub region: Option<String>,
    /// CA certificates (PEM) to trust for TLS, in place of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// How often in a row the device tries a request without progress.
    #[serde(default = "default_tries")]
    pub tries: u32,
    /// The time limit for everything that one process does with this device, in seconds.
    #[serde(default = "default_deadline")]
    pub deadline: u64,
    /// The most bytes that may come over the network for everything that one process does with this
    /// device: bodies of answers, as they are sent. The device doesn't request what would exceed
    /// this, or breaks it off.
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// The slowest allowed rate, in bytes a second over half a minute. The device breaks off a
    /// slower answer and asks again.
    #[serde(default = "default_slowest")]
    pub slowest: u64,
    /// The longest validity of a timestamp in this repository, in days. From a timestamp's expiry
    /// it follows when it was signed at the latest. A clock that was never set is moved forward to
    /// that.
    #[serde(default = "default_longest_timestamp")]
    pub longest_timestamp_days: u32,
    /// Believes the device's clock, even if it is behind the time of the build.
    #[serde(default)]
    pub believe_clock: bool,
    /// The longest document of the repository, in bytes. Reading one takes up to 30 times its
    /// length in memory.
    #[serde(default = "default_largest_document")]
    pub largest_document: usize,
    /// What it installs, where it keeps itself up to date.
    #[serde(default)]
    pub run: Option<RunSettings>,
}

/// How a device authenticates itself. A server to which the first one redirects gets none of this.
/// The device reads or requests a token or key once more after a refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Identity {
    /// The device doesn't authenticate itself.
    #[default]
    None,
    /// A file with a bearer token (RFC 6750).
    Token(PathBuf),
    /// A program and its arguments. The program writes a bearer token within half a minute.
    TokenCommand(Vec<String>),
    /// A client certificate (mutual TLS) and its key, both as PEM.
    Certificate {
        /// The certificate, followed by the intermediate certificates that the server needs, if
        /// any.
        certificate: PathBuf,
        /// The certificate's private key.
        key: PathBuf,
    },
    /// SigV4 signatures with the keys in this file. It is JSON as AWS's tools write it, with
    /// `AccessKeyId` and `SecretAccessKey`, and for temporary keys with `SessionToken` and
    /// `Expiration`. The device reads the file again shortly before the keys expire.
    Keys(PathBuf),
    /// SigV4 signatures with keys from the credentials provider of AWS IoT Core, which identifies
    /// the device by a certificate. The device requests new keys shortly before the old ones
    /// expire.
    Iot {
        /// The provider's host: the answer of `aws iot describe-endpoint --endpoint-type
        /// iot:CredentialProvider`.
        endpoint: String,
        /// The name of the role alias, not its ARN.
        role_alias: String,
        /// The name of the device's thing, if the role's policy has thing variables.
        #[serde(default)]
        thing: Option<String>,
        /// The device's certificate (PEM).
        certificate: PathBuf,
        /// The certificate's private key (PEM).
        key: PathBuf,
    },
}

impl Settings {
    /// Settings with this folder and defaults for everything else.
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

    /// Reads a settings file.
    ///
    /// # Errors
    /// [`Failure::File`] if the file can't be read; [`Failure::Settings`] with the line of the
    /// mistake.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(Failure::file("read", path))?;
        toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .map(|span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
            let line = line.map(|line| format!(" line {line}")).unwrap_or_default();
            Failure::Settings(format!("{}{line}: {}", path.display(), error.message()))
        })
    }

    /// The URL of the document at this path.
    pub(crate) fn metadata(&self, path: &str) -> Result<String, Failure> {
        if self.metadata_url.is_empty() {
            return Err(Failure::Settings("no metadata URL is given: set metadata-url".to_owned()));
        }
        Ok(below(&self.metadata_url, path))
    }

    /// The URL of the target at this path.
    pub(crate) fn target(&self, path: &str) -> Result<String, Failure> {
        Ok(below(&self.targets()?, path))
    }

    fn targets(&self) -> Result<String, Failure> {
        match &self.targets_url {
            Some(url) => Ok(url.clone()),
            None => Ok(beside(&self.metadata("")?, "targets")),
        }
    }

    /// The URL of a target's chunks; their path is the target's.
    pub(crate) fn chunks(&self, path: &str) -> Result<String, Failure> {
        match &self.chunks_url {
            Some(url) => Ok(below(url, path)),
            None => Ok(below(&beside(&self.targets()?, "chunks"), path)),
        }
    }

    /// The URL of a pack for this query, if the settings have a URL for packs.
    pub(crate) fn pack(&self, query: &str) -> Option<String> {
        let url = self.pack_url.as_ref()?;
        Some(format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' }))
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            snapshot: self.largest_document,
            targets: self.largest_document,
            ..Limits::default()
        }
    }

    pub(crate) fn longest_timestamp(&self) -> Duration {
        Duration::from_hours(24 * u64::from(self.longest_timestamp_days))
    }
}

/// A percent-encoded path below a URL. The URL's query goes with every request: some file stores
/// grant access by it.
fn below(url: &str, path: &str) -> String {
    let (folder, query) =
        url.split_once('?').map_or((url, None), |(folder, query)| (folder, Some(query)));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{path}{query}", folder.trim_end_matches('/'))
}

/// The URL of the folder `name` beside that of `url`.
fn beside(url: &str, name: &str) -> String {
    let (folder, query) =
        url.split_once('?').map_or((url, None), |(folder, query)| (folder, Some(query)));
    let around = folder.trim_end_matches('/').rsplit_once('/').map_or(folder, |(around, _)| around);
    let query = query
        .filter(|query| !query.is_empty())
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
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
            (
                "https://h/x/metadata/",
                None,
                "https://h/x/metadata/1.root.json",
                "https://h/x/targets/a/b",
            ),
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
                assert_eq!(
                    settings.chunks("a/b").unwrap(),
                    target.replace("/targets/", "/chunks/")
                );
            }
        }
        assert_eq!(settings.pack("have="), None);
        for (url, pack) in [
            ("https://h/pack", "https://h/pack?have="),
            ("https://h/pack?sig=1", "https://h/pack?sig=1&have="),
        ] {
            settings.pack_url = Some(url.to_owned());
            assert_eq!(settings.pack("have=").as_deref(), Some(pack));
        }
    }

    #[test]
    fn a_mistake_is_reported_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.toml");
        for (text, why) in [
            ("metadata-dir = \"m\"\nmetadata-ur = \"x\"", "line 2: unknown field `metadata-ur`"),
            ("metadata-dir = 3", "line 1: invalid type"),
            ("", "missing field `metadata-dir`"),
            ("metadata-dir = \"m\"\nidentity = \"face\"", "line 2: unknown variant `face`"),
            (
                "metadata-dir = \"m\"\nidentity.iot = { endpoint = \"e\" }",
                "line 2: missing field `role-alias`",
            ),
            (
                "metadata-dir = \"m\"\nidentity.iot = { endpoint = \"e\", thin = \"t\" }",
                "line 2: unexpected keys in table: thin",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Settings::read(&path).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("device.toml"), "{error}");
        }
        std::fs::write(
            &path,
            "metadata-dir = \"m\"\nidentity.certificate = { certificate = \"c\", key = \"k\" }",
        )
        .unwrap();
        let Identity::Certificate { key, .. } = Settings::read(&path).unwrap().identity else {
            panic!()
        };
        assert_eq!(key, Path::new("k"));
        let iot = "{ endpoint = \"e\", role-alias = \"a\", certificate = \"c\", key = \"k\" }";
        std::fs::write(&path, format!("metadata-dir = \"m\"\nidentity.iot = {iot}")).unwrap();
        let Identity::Iot { role_alias, thing, .. } = Settings::read(&path).unwrap().identity
        else {
            panic!()
        };
        assert_eq!((&*role_alias, thing), ("a", None));
    }
}
