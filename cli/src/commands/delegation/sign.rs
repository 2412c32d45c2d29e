//! `tufline delegation sign`: the other party's side.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use tough::schema::decoded::Decoded;
use tough::schema::{Hashes, Target};
use tufline_folder::given;
use tufline_tuf::{SIDE_FILE_SUFFIX, TargetName, custom};

use crate::ceremony::{RoleFile, SigningKeyArguments, parse_expiry, role_file};
use crate::exit::{Exit, Result};
use crate::files;
use crate::text::Quoted;

/// Signs a party's document in its file, `ROLE.json`. With --targets or --expires it first makes
/// the next version.
///
/// The delegating repository may ask for several signatures. Then each signer runs this on the same
/// file, and only the first gives --targets or --expires. At last upload the file as
/// `delegations/ROLE.json` to the uploads bucket, after the files that it lists.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The document's file, named after the role: vendor-x.json
    #[arg(value_name = "ROLE.json")]
    file: PathBuf,
    /// List exactly the files below DIR, by their paths in it. NAME.tuf.json beside a file holds
    /// its custom metadata
    #[arg(long, value_name = "DIR")]
    targets: Option<PathBuf>,
    /// When a new version expires: a time, or how long from now [default: 90 days, if --targets is
    /// given]
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    #[command(flatten)]
    key: SigningKeyArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    let Arguments { file: path, targets, expires, key } = arguments;
    let role = role_file::role_of(&path)?;
    let before = RoleFile::read(&role, &path)?;
    let file = match (before, targets.is_some() || expires.is_some()) {
        (None, _) if targets.is_none() => {
            bail!("{} does not exist: list its targets with --targets DIR", path.quoted())
        }
        (Some(before), false) => before,
        (before, _) => {
            let targets = targets.as_deref().map(list_targets).transpose()?;
            RoleFile::next(before, targets, parse_expiry(expires.as_deref().unwrap_or("90 days"))?)?
        }
    };
    file.sign(&role, &path, &key).await?;
    Ok(Exit::Done)
}

/// The files below `root` as targets.
fn list_targets(root: &Path) -> anyhow::Result<HashMap<tough::TargetName, Target>> {
    let (mut targets, mut folders) = (HashMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.quoted()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if !is_side_file(&path) {
                let name = path
                    .strip_prefix(root)?
                    .to_str()
                    .with_context(|| format!("{} is not UTF-8", path.quoted()))?;
                let name: TargetName = name.parse()?;
                targets.insert(tough::TargetName::new(name.as_str())?, read_target(&path)?);
            }
        }
    }
    Ok(targets)
}

fn is_side_file(path: &Path) -> bool {
    let target = path.to_str().and_then(|path| path.strip_suffix(SIDE_FILE_SUFFIX));
    target.is_some_and(|target| Path::new(target).is_file())
}

fn read_target(path: &Path) -> anyhow::Result<Target> {
    let cannot = || format!("cannot read {}", path.quoted());
    let (length, sha256) =
        (path.metadata().with_context(cannot)?.len(), files::sha256(path).with_context(cannot)?);
    let side = files::side_file(path);
    let custom = if side.exists() {
        custom::parse(
            &given::read_to_string(&side)
                .with_context(|| format!("cannot read {}", side.quoted()))?,
        )?
    } else {
        custom::Custom::new()
    };
    let hashes =
        Hashes { sha256: Decoded::from(sha256.as_bytes().to_vec()), _extra: HashMap::new() };
    Ok(Target { length, hashes, custom: custom.into_iter().collect(), _extra: HashMap::new() })
}
