//! `DATA/config.toml`: the repository's policy.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tufline_folder::given;
use tufline_tuf::Config;
use tufline_tuf::root::PinnedRoot;

use crate::files;
use crate::text::Quoted;

/// The file that the first start writes: every setting, with its default.
const DEFAULT: &str = r#"# The policy of this repository. A setting that is not set has the default shown here.
# `tufline local` reads this file when it starts.

# How hash finds the SHA-256 of an upload: "auto" takes it from the copy, "stream" always reads the
# upload.
# hashing = "auto"

# Uploads of more bytes than this are rejected.
# largest_target = 50000000000000

# A role that lists more targets than this is split into 16 bins. With smaller bins, devices
# download less for a change, but a larger snapshot.
# max_targets_per_bin = 1000

# Whether targets of 64 KiB to 1 GiB are cut into chunks, so that devices with an older target fetch
# only what they lack (docs/chunks.md).
# chunks = false

# Whether parties with delegated names (`tufline delegation`) may delegate them further.
# nested_delegations = false

# Whether people sign the top-level targets role (`tufline targets`, docs/offline-targets.md); needs
# bins.
# offline_targets = false

# `trusted_root` pins the first root, so that no other is accepted in its place: the contents that
# `tufline root show` prints, after its version and a colon unless that is 1. If it is not set,
# root.json beside this file counts, once it exists.

# Uploads of more than `above` bytes are processed apart from all others. If they must be read, they
# are read in pieces of `piece` bytes; after `run` bytes the next upload has its turn. The sizes of
# copies matter only on AWS.
[large_uploads]
# above = 268435456
# piece = 4194304
# run = 4294967296
# copy_above = 5000000000
# copy_part = 134217728

# How long documents are valid after they are signed. The timestamp is signed again when less than
# half of its time is left, the others when less than a third is left.
[expiry]
# timestamp = "1 day"
# snapshot = "7 days"
# targets = "90 days"
# root = "365 days"

# If more than this share of all targets, in percent, is removed at once, the removals wait for
# `tufline accept-removals`. Up to `at_least` removals never wait. With 100 percent none ever wait.
[removals]
# percent = 50
# at_least = 20
"#;

/// The path of the file in the folder `data`.
pub fn path(data: &Path) -> PathBuf {
    data.join("config.toml")
}

/// Writes the file of a repository in the folder `data` whose chain of roots begins with `first`.
pub fn write(data: &Path, first: PinnedRoot) -> anyhow::Result<()> {
    files::write(&path(data), with_first(first).as_bytes())
}

/// The default file with `trusted_root` set, before the tables, as TOML requires.
fn with_first(first: PinnedRoot) -> String {
    format!(
        "# The root with which the chain of roots begins.\ntrusted_root = \"{first}\"\n\n{DEFAULT}"
    )
}

/// Reads the file at `path`; writes the default first if there is none.
pub fn read(path: &Path) -> anyhow::Result<Config> {
    let text = match given::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            files::write(path, DEFAULT.as_bytes())?;
            DEFAULT.to_owned()
        }
        result => result.with_context(|| format!("cannot read {}", path.quoted()))?,
    };
    parse(&text).with_context(|| format!("{} cannot be used", path.quoted()))
}

fn parse(text: &str) -> anyhow::Result<Config> {
    toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| before.matches('\n').count() + 1);
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        anyhow::anyhow!("{line}{}", error.message())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_first_start_states_the_defaults() {
        assert_eq!(parse(DEFAULT).unwrap(), Config::default());
        let settings = DEFAULT.lines().map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") => setting,
            _ => line,
        });
        let settings = settings.collect::<Vec<_>>().join("\n") + "\n";
        assert_ne!(settings, DEFAULT);
        assert_eq!(parse(&settings).unwrap(), Config::default());
    }

    #[test]
    fn the_root_of_an_import_is_set() {
        for version in [1, 15] {
            let first = PinnedRoot { version, contents: tufline_tuf::Sha256::of(b"x") };
            let expected = Config { trusted_root: Some(first), ..Config::default() };
            assert_eq!(parse(&with_first(first)).unwrap(), expected);
        }
    }

    #[test]
    fn an_invalid_setting_is_refused_with_its_line() {
        let error = parse("\n[expiry]\ntimestamp = \"soon\"\n").unwrap_err().to_string();
        assert!(error.starts_with("line 3: 'soon' is not a length of time"), "{error}");
        assert!(parse("hashing = \"md5\"").is_err());
        assert!(parse("unknown = 1").is_err());
    }

    #[test]
    fn a_choice_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        assert_eq!(read(&path).unwrap(), Config::default());
        std::fs::write(&path, "[expiry]\ntimestamp = \"36h\"\n").unwrap();
        assert_eq!(read(&path).unwrap().expiry.timestamp.seconds(), 129_600);
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read(&path).is_err());
    }
}
