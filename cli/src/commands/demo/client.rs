//! The device's side of the demo.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt};
use tokio::time::Instant;
use tough::Repository;
use tough::schema::{Role, Signed};
use tufline_tuf::{TargetName, Time};

use super::device::{Device, find_target};
use super::narration::tell_step;
use super::timed::Timed;
use crate::access;
use crate::embedded::Running;
use crate::terminal::say;
use crate::text::{self, Quoted};

/// Updates a new device, downloads `name`, compares it with the file `own`, and shows what the
/// device verified.
pub async fn download(running: &Running, own: &Path, name: &TargetName) -> anyhow::Result<()> {
    say!("");
    say!("A device that knows nothing but root.json finds it, with tough as its client:");
    say!("");
    let transport = Timed::new(access::open());
    let device = Device::new(&running.endpoints.public, transport.clone())?;
    let repository = device.update().await?;
    let roles = transport.roles(Instant::now());
    let now = running.repository.ports.clock.now();
    for (role, took) in roles {
        tell_step(&role, &describe_role(&repository, &role, now), took);
    }

    let target =
        find_target(&repository, name).with_context(|| format!("devices don't see {name}"))?;
    let begin = Instant::now();
    compare(&repository, name, own).await?;
    let bytes = format!("{}, sha256 {}", text::bytes(target.length), text::digest(&target.sha256));
    tell_step("bytes", &bytes, begin.elapsed());
    say!("");
    say!("Verified: root → timestamp → snapshot → targets → bytes, the same as uploaded.");
    Ok(())
}

/// What the device verified about a role, in one line.
fn describe_role(repository: &Repository, role: &str, now: Time) -> String {
    match role {
        "root" => describe_document(repository.root(), now),
        "timestamp" => describe_document(repository.timestamp(), now),
        "snapshot" => describe_document(repository.snapshot(), now),
        "targets" => describe_document(repository.targets(), now),
        other => repository
            .delegated_role(other)
            .and_then(|role| role.targets.as_ref())
            .map_or_else(String::new, |targets| describe_document(targets, now)),
    }
}

fn describe_document<T: Role>(document: &Signed<T>, now: Time) -> String {
    let keys: Vec<String> = document
        .signatures
        .iter()
        .map(|signature| text::short(&hex::encode(&signature.keyid)))
        .collect();
    let (version, expires) =
        (document.signed.version(), text::until(now, document.signed.expires()));
    format!("version {version}, key {}, expires {expires}", keys.join(" "))
}

/// Downloads `name` as a device does, and compares its bytes with those of the file `own`.
async fn compare(repository: &Repository, name: &TargetName, own: &Path) -> anyhow::Result<()> {
    let target = tough::TargetName::new(name.as_str())?;
    let stream =
        repository.read_target(&target).await?.with_context(|| format!("{name} is no target"))?;
    let mut stream = stream.boxed();
    let mut file =
        std::fs::File::open(own).with_context(|| format!("cannot read {}", own.quoted()))?;
    let mut expected = Vec::new();
    while let Some(piece) = stream.try_next().await? {
        expected.resize(piece.len(), 0);
        if file.read_exact(&mut expected).is_err() || expected != piece {
            bail!("the bytes of {name} are not those that were uploaded");
        }
    }
    if file.read(&mut [0])? != 0 {
        bail!("{name} is shorter than what was uploaded");
    }
    Ok(())
}
