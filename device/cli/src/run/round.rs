//! One round: asks what is listed, and fetches it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tufline_client::{FoundTarget, file_name};

use crate::device::{Control, Device};
use crate::durable;
use crate::failure::Failure;
use crate::part;
use crate::run::journal::{Due, Release, Stage};
use crate::run::runner::{Interrupted, Outcome, Runner, time};
use crate::run::status::{State, Versions};

impl Release {
    /// The release of a found target.
    fn of(found: &FoundTarget) -> Self {
        Self {
            target: found.name.clone(),
            digest: found.target.digest().unwrap_or_default(),
            sha256: found.target.hashes.get("sha256").map(hex::encode),
            length: found.target.length,
            custom: found.target.custom.clone(),
        }
    }

    /// A text for people.
    pub fn told(&self) -> String {
        let digest = self.digest.get(..12).unwrap_or(&self.digest);
        format!("{} {digest}… ({})", self.target, told_size(self.length))
    }
}

impl Runner<'_> {
    /// Checks, downloads and installs, as far as that is due.
    pub fn try_round(&mut self) -> Result<Outcome, Interrupted> {
        let is_unsure = self.look_after_attempt()?;
        let (device, control, found) = self.ask()?;
        let release = Release::of(&found);
        self.journal.see(&release.digest);
        self.status.listed = Some(release.digest.clone());
        self.status.custom =
            release.custom.as_deref().and_then(|custom| serde_json::from_str(custom).ok());
        self.know_the_factory(&found)?;
        let is_attempt = self
            .journal
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.release.digest == release.digest);
        match self.due(&release.digest) {
            Due::Nothing => {
                self.tidy(None);
                Ok(Outcome::Nothing)
            }
            Due::GivenUp => {
                self.tidy(None);
                self.tell_given_up(&release);
                Ok(Outcome::GivenUp)
            }
            Due::Confirmation => Ok(Outcome::Unconfirmed),
            Due::Install(_) if is_unsure && is_attempt => Ok(Outcome::Unconfirmed),
            Due::Install(number) => match self.fetch(device, &control, found, &release)? {
                Some(file) => self.install(&release, number, &file),
                None => Ok(Outcome::Closed),
            },
        }
    }

    /// Asks what the repository lists now.
    fn ask(&mut self) -> Result<(Device, Control, FoundTarget), Interrupted> {
        self.status.last_check = Some(time());
        self.now(State::Checking);
        let mut settings = self.settings.clone();
        settings.max_bytes = self.bytes_left();
        let kept = self.kept.take();
        let mut device = self.beside(None, move || Device::open_again(settings, kept))??;
        let (control, target) = (device.control(), self.run.target.clone());
        let (device, found) = self.beside(Some(&control), move || {
            let found = device.find(&target);
            (device, found)
        })?;
        self.kept = device.keep();
        if let Some(why) = device.pack_failure() {
            self.event(&format!(
                "the pack could not be used ({why}): files were asked for one by one"
            ));
        }
        self.status.metadata = Versions::read(&self.settings.metadata_dir);
        let found = found?.ok_or_else(|| Failure::NoSuchTarget(self.run.target.clone()))?;
        self.status.last_success = Some(time());
        Ok((device, control, found))
    }

    /// If the device doesn't know what it runs, compares the listed release with the file from its
    /// image.
    fn know_the_factory(&mut self, found: &FoundTarget) -> Result<(), Interrupted> {
        let Some(file) = self.run.installed_file.clone() else { return Ok(()) };
        if self.journal.installed.is_some() || self.journal.attempt.is_some() {
            return Ok(());
        }
        let (found, path) = (found.clone(), file.clone());
        let is_installed = self.beside(None, move || {
            part::is_there(&found, &path).map(|is_there| found.target.digest().filter(|_| is_there))
        })?;
        let read = is_installed.map_err(Failure::file("read", &file))?;
        self.journal.installed = read;
        Ok(())
    }

    /// Fetches and verifies a release's file, and returns its path. `None` if the download or the
    /// installation waits for the window.
    fn fetch(
        &mut self,
        device: Device,
        control: &Control,
        found: FoundTarget,
        release: &Release,
    ) -> Result<Option<PathBuf>, Interrupted> {
        let is_closed = self.window_opens_in().is_some();
        let is_there = self.fetched.as_ref() == Some(&release.digest);
        if is_closed && (is_there || self.run.download_in_window) {
            self.tell_to_wait(release, "waits for its window");
            return Ok(None);
        }
        let folder = self.folder(Some(&release.digest));
        let file = folder.join(file_name(release.target.rsplit('/').next().unwrap_or_default()));
        self.tidy(Some(&release.digest));
        durable::create_folder(&folder).map_err(Failure::file("written", &folder))?;
        if !is_there {
            self.event(&format!("{} is new; downloading", release.told()));
        }
        self.now(State::Downloading);
        let (to, seed) = (file.clone(), self.run.seed.clone());
        // If the file is there already, this reads and verifies it.
        let fetched =
            self.beside(Some(control), move || device.fetch_with(&found, &to, seed.as_deref()))??;
        let read_only = fs::Permissions::from_mode(0o444);
        fs::set_permissions(&file, read_only).map_err(Failure::file("written", &file))?;
        if !is_there {
            let copied = match fetched.copied {
                0 => String::new(),
                copied => format!(", {} are the seed's", told_size(copied)),
            };
            // A download by difference that wasn't one costs bytes: it is said.
            let whole = fetched
                .whole_because
                .map(|why| format!(", whole because {why}"))
                .unwrap_or_default();
            let came = told_size(fetched.received);
            self.event(&format!("{} is verified; {came} came{copied}{whole}", release.told()));
        }
        self.fetched = Some(release.digest.clone());
        if self.window_opens_in().is_some() {
            self.tell_to_wait(release, "waits for its window");
            return Ok(None);
        }
        Ok(Some(file))
    }

    fn tell_given_up(&mut self, release: &Release) {
        let stage = self.journal.attempt.as_ref().map(|attempt| &attempt.stage);
        let why = match stage {
            Some(Stage::Failed(why)) => format!("failed: the command {why}"),
            _ => "was cut".to_owned(),
        };
        let message = format!("installing {} {why}; it is not tried again", release.told());
        if self.status.failure.is_none() {
            self.event(&message);
            self.note_failure("install", message);
        }
    }

    /// Reports once for each release that it waits.
    fn tell_to_wait(&mut self, release: &Release, why: &str) {
        if self.told_to_wait.as_ref() != Some(&release.digest) {
            self.event(&format!("{} {why}", release.told()));
            self.told_to_wait = Some(release.digest.clone());
        }
    }

    /// The folder of files that wait for installation; each release has its own folder below it.
    fn folder(&self, digest: Option<&str>) -> PathBuf {
        let folder = self.run.download_dir(&self.settings.metadata_dir);
        digest.map_or(folder.clone(), |digest| folder.join(digest))
    }

    /// Removes the files of all releases except this one. Reports a file that can't be removed, and
    /// leaves it.
    pub fn tidy(&mut self, but: Option<&str>) {
        if but.is_none() {
            self.fetched = None;
        }
        let folder = self.folder(None);
        let Ok(entries) = fs::read_dir(&folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            // Everything else there belongs to others.
            let name =
                path.file_name().and_then(|name| name.to_str()).filter(|name| is_digest(name));
            if name.is_some_and(|name| Some(name) != but)
                && let Err(error) = fs::remove_dir_all(&path)
            {
                self.event(&format!("{} can't be removed: {error}", path.display()));
            }
        }
    }
}

fn is_digest(name: &str) -> bool {
    name.len() >= 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A size for people.
fn told_size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
