//! `tufline key rotate`: replaces online keys, step by step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;
use tough::schema::RoleType;
use tough::schema::key::Key as PublicKey;
use tufline_aws::KmsSigner;
use tufline_folder::FileSigner;
use tufline_pipeline::operations::rotation::Rotation;
use tufline_pipeline::operations::rotation::Step;
use tufline_pipeline::operations::rotation::look;
use tufline_pipeline::state::roots;
use tufline_store::{Key, OnlineRole, Signer, Store, SystemClock};
use tufline_tuf::root::{Chain, key_id, short_id};

use super::roots::{NewKey, PreparedRoot};
use crate::ceremony::parse_expiry;
use crate::exit::{Exit, Result, misused};
use crate::files;
use crate::repository::{Repository, RepositoryArguments};
use crate::terminal::{self, say};
use crate::text::Quoted;

/// Replaces online keys: takes every step that needs no people, and says what people must do next.
/// Run it again at any time.
///
/// It starts with new keys: in a folder `--begin` makes them, on AWS the CDK app does.
/// docs/online-keys.md shows every step.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The roles; keys that are replaced together need only one ceremony
    #[arg(value_name = "ROLE", required = true)]
    roles: Vec<OnlineRoleName>,
    /// In a folder: make a new key for each of these roles that has only one key, or none
    #[arg(long)]
    begin: bool,
    /// Where to write the roots that people must sign [default: the current folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// When these roots expire: a time, or how long from now
    #[arg(long, default_value = "365 days", value_name = "TIME")]
    expires: String,
    /// In a folder: delete the files of old keys that are no longer needed
    #[arg(long)]
    delete_old_keys: bool,
    /// On AWS: have KMS delete old keys that are no longer needed, after 7 to 30 days. It needs an
    /// administrator's rights
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i32).range(7..=30))]
    schedule_deletion_in_days: Option<i32>,
    /// Print a line of JSON for each role
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: RepositoryArguments,
}

/// A role with an online key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnlineRoleName {
    Targets,
    Bins,
    Snapshot,
    Timestamp,
}

impl OnlineRoleName {
    fn online(self) -> OnlineRole {
        match self {
            Self::Targets => OnlineRole::Targets,
            Self::Bins => OnlineRole::Bins,
            Self::Snapshot => OnlineRole::Snapshot,
            Self::Timestamp => OnlineRole::Timestamp,
        }
    }

    /// The role's name in the root; `None` for the bins, whose key the delegating roles list.
    fn in_root(self) -> Option<RoleType> {
        match self {
            Self::Targets => Some(RoleType::Targets),
            Self::Bins => None,
            Self::Snapshot => Some(RoleType::Snapshot),
            Self::Timestamp => Some(RoleType::Timestamp),
        }
    }

    fn name(self) -> String {
        self.in_root().map_or_else(|| "bins".into(), |role| role.to_string())
    }
}

pub async fn run(arguments: Arguments) -> Result {
    let repository = arguments.repository.open().await?;
    let (store, keys, config) =
        (repository.store()?, RotatedKeys::open(&repository)?, repository.config()?);
    if let Some(error) = keys.find_misuse(&arguments) {
        return Ok(misused(&error));
    }
    let mut looked = Vec::new();
    for role in &arguments.roles {
        if arguments.begin && keys.is_lost(*role)? {
            keys.add(*role)?;
        }
        let mut rotation =
            look(&*store, &*keys.signer(), &SystemClock, &config, role.online()).await?;
        if arguments.begin && rotation.step == Step::Rested {
            keys.add(*role)?;
            rotation = look(&*store, &*keys.signer(), &SystemClock, &config, role.online()).await?;
        }
        looked.push((*role, rotation));
    }
    let roots = prepare(&*store, &looked, &arguments).await?;
    let next: Vec<String> =
        roots.into_iter().chain(looked.iter().filter_map(targets_to_sign)).collect();
    let next = (!next.is_empty()).then(|| next.join("; then "));
    for (role, rotation) in looked {
        let days = arguments.schedule_deletion_in_days;
        let deleted = match &rotation.step {
            Step::Unused(_) if arguments.delete_old_keys || days.is_some() => {
                keys.delete(role, &rotation.older, days.unwrap_or_default()).await?
            }
            _ => Vec::new(),
        };
        tell_step(role, &rotation, &deleted, next.as_deref(), arguments.json)?;
    }
    if let Some(next) = next.filter(|_| !arguments.json) {
        say!("next: {next}");
    }
    Ok(Exit::Done)
}

/// The online keys, in the form in which they can be made and deleted.
enum RotatedKeys {
    Files(Arc<FileSigner>),
    Kms(Arc<KmsSigner>),
}

impl RotatedKeys {
    fn open(repository: &Repository) -> anyhow::Result<Self> {
        Ok(match repository {
            Repository::Folder(folder) => Self::Files(Arc::new(folder.signer()?)),
            Repository::Aws(aws) => Self::Kms(Arc::new(aws.kms_signer()?)),
        })
    }

    /// Why the arguments don't fit these keys, if they don't.
    fn find_misuse(&self, arguments: &Arguments) -> Option<String> {
        match self {
            Self::Files(_) => arguments
                .schedule_deletion_in_days
                .map(|_| "keys in files are deleted at once: use --delete-old-keys".into()),
            Self::Kms(_) if arguments.begin => Some(
                "the CDK app makes keys in KMS: deploy with two numbers in onlineKeys, such as -c \
                 timestampKeys=1,2, and run this without --begin"
                    .into(),
            ),
            Self::Kms(_) if arguments.delete_old_keys => {
                Some("keys in KMS can't be deleted at once: use --schedule-deletion-in-days".into())
            }
            Self::Kms(_) => None,
        }
    }

    fn signer(&self) -> Arc<dyn Signer> {
        match self {
            Self::Files(signer) => Arc::clone(signer) as _,
            Self::Kms(signer) => Arc::clone(signer) as _,
        }
    }

    /// Whether a role has no key left.
    fn is_lost(&self, role: OnlineRoleName) -> anyhow::Result<bool> {
        match self {
            Self::Files(signer) => Ok(signer.lacks(role.online())?),
            Self::Kms(_) => Ok(false),
        }
    }

    fn add(&self, role: OnlineRoleName) -> anyhow::Result<()> {
        match self {
            Self::Files(signer) => Ok(signer.add(role.online()).map(drop)?),
            Self::Kms(_) => Ok(()),
        }
    }

    /// Deletes a role's old keys, in KMS after `days`; returns what was deleted or will be, for
    /// people.
    async fn delete(
        &self,
        role: OnlineRoleName,
        keys: &[PublicKey],
        days: i32,
    ) -> anyhow::Result<Vec<String>> {
        let mut deleted = Vec::new();
        for key in keys {
            deleted.push(match self {
                Self::Files(signer) => {
                    let path = signer.file(role.online(), key)?;
                    files::remove(&path)?;
                    path.quoted()
                }
                Self::Kms(signer) => {
                    let id = signer.schedule_deletion(role.online(), key, days).await?;
                    format!("{id} in {days} days; now deploy without its number in onlineKeys")
                }
            });
        }
        Ok(deleted)
    }
}

/// Makes the roots that the rotation needs now. Returns what people must do with them; `None` if
/// nothing.
async fn prepare(
    store: &dyn Store,
    looked: &[(OnlineRoleName, Rotation)],
    arguments: &Arguments,
) -> anyhow::Result<Option<String>> {
    let in_step = |wanted: fn(&Step) -> bool| -> Vec<NewKey> {
        let roles = looked.iter().filter(|(_, rotation)| wanted(&rotation.step));
        roles
            .filter_map(|(role, rotation)| Some((role.in_root()?, rotation.newest.clone())))
            .collect()
    };
    let untrusted = in_step(|step| *step == Step::Untrusted);
    let signed = in_step(|step| matches!(step, Step::Signed(_)));
    let chain = roots::chain(store).await?.context("this repository has no root yet")?;
    let (folder, expires) =
        (arguments.out.clone().unwrap_or_default(), parse_expiry(&arguments.expires)?);
    if untrusted.is_empty() && signed.is_empty() {
        return Ok(None);
    }
    // One root drops the old keys of all roles. A root for the roles that are ready now would not
    // fit the others.
    let unready = in_step(|step| matches!(step, Step::Settling(_) | Step::Resigning(_)));
    if untrusted.is_empty() && !unready.is_empty() {
        let names: Vec<String> = unready.iter().map(|(role, _)| role.to_string()).collect();
        return Ok(Some(format!(
            "wait until the new key of {} has signed too, and run this command again: one root \
             drops the old keys of all",
            names.join(" and ")
        )));
    }
    leave(&chain, &folder)?;
    let roots = if untrusted.is_empty() {
        vec![PreparedRoot::after(chain.newest(), &folder, &signed, true, expires)?]
    } else {
        let first = PreparedRoot::after(chain.newest(), &folder, &untrusted, false, expires)?;
        let all = in_step(|step| !matches!(step, Step::Rested | Step::Unused(_)));
        let second = PreparedRoot::after(first.root(), &folder, &all, true, expires)?;
        vec![first, second]
    };
    let unsigned: Vec<String> = roots.iter().filter_map(PreparedRoot::to_sign).collect();
    Ok(roots.first().map(|first| {
        let publish = format!("`tufline root publish {}`", first.path().quoted());
        if unsigned.is_empty() {
            format!("{publish}, and then this command again")
        } else {
            format!("sign {} with `tufline root sign`, then {publish}", unsigned.join(" and "))
        }
    }))
}

/// What people must do in a rotation of the bins' key if people sign `targets`, which lists that
/// key.
fn targets_to_sign((role, rotation): &(OnlineRoleName, Rotation)) -> Option<String> {
    match (role, &rotation.step) {
        (OnlineRoleName::Bins, Step::Untrusted) => Some(
            "make two targets documents with `tufline targets next`, have both signed with \
             `tufline targets sign`, and publish the first with `tufline targets publish`"
                .into(),
        ),
        (OnlineRoleName::Bins, Step::Signed(_)) => Some(
            "publish the second targets document with `tufline targets publish \
                  targets.2.json`"
                .into(),
        ),
        _ => None,
    }
}

/// Writes the newest published root beside the new ones, where signers need it.
fn leave(chain: &Chain, folder: &Path) -> anyhow::Result<()> {
    let path = folder.join(format!("{}.root.json", chain.newest().version));
    if path.exists() { Ok(()) } else { files::write(&path, chain.newest_bytes()) }
}

/// Prints how far a role's rotation is, in one line for people or for programs.
fn tell_step(
    role: OnlineRoleName,
    rotation: &Rotation,
    deleted: &[String],
    next: Option<&str>,
    as_json: bool,
) -> anyhow::Result<()> {
    let id = key_id(&rotation.newest)?;
    let key = short_id(&id);
    let list = if role == OnlineRoleName::Bins { "targets" } else { "the root" };
    let (step, told) = match &rotation.step {
        Step::Rested => (
            "rested",
            format!(
                "its only key is {key}; --begin makes a new one, or on AWS a second number in \
                 onlineKeys"
            ),
        ),
        Step::Untrusted => ("untrusted", format!("{list} does not list its new key {key} yet")),
        Step::Settling(left) => (
            "settling",
            format!(
                "its new key {key} signs in {left} s, when no cache can still serve the old root"
            ),
        ),
        Step::Resigning(others) => (
            "resigning",
            format!(
                "its new key {key} has not signed {} yet; refresh works on it every minute",
                name_some(others)
            ),
        ),
        Step::Signed(own) => (
            "signed",
            format!(
                "its new key {key} has signed {}; {list} still lists another key",
                name_some(own)
            ),
        ),
        Step::Unused(own) if deleted.is_empty() => (
            "unused",
            format!(
                "replaced: devices trust only {key}, which has signed {}; nothing needs the older \
                 keys any more: delete them with `--delete-old-keys`, or \
                 `--schedule-deletion-in-days` on AWS",
                name_some(own)
            ),
        ),
        Step::Unused(_) => {
            ("deleted", format!("replaced by {key}; deleted {}", deleted.join(", ")))
        }
    };
    if as_json {
        terminal::json(
            &json!({"role": role.name(), "key": hex::encode(&id), "step": step, "told": told, "next": next}),
        );
    } else {
        say!("{}: {told}", role.name());
    }
    Ok(())
}

/// The first few of these files, by name, and how many more there are.
fn name_some(files: &[Key]) -> String {
    const MOST: usize = 3;
    let names = files.iter().take(MOST).map(Key::to_string).collect::<Vec<_>>().join(", ");
    match files.len().saturating_sub(MOST) {
        0 if names.is_empty() => "anything".into(),
        0 => names,
        more => format!("{names} and {more} more"),
    }
}
