//! The program that a device, or somebody at one, runs.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};
use tufline_device::{Device, Failure, FetchedTarget, FoundTarget, Ran, Settings};

mod arguments;

use arguments::{Asked, Command, HELP, Misunderstood};

/// What is told at the end.
#[derive(Debug, Default, Serialize)]
struct Told {
    /// For programs.
    #[serde(flatten)]
    fields: serde_json::Map<String, Value>,
    /// For people.
    #[serde(skip)]
    lines: Vec<String>,
    /// With what it ends.
    #[serde(skip)]
    exit: u8,
}

fn main() -> ExitCode {
    let asked = match arguments::read(lexopt::Parser::from_env()) {
        Ok(asked) => asked,
        Err(Misunderstood::Usage(why)) => {
            say(io::stderr(), &format!("tufline-device: {why}; see tufline-device --help"));
            return ExitCode::from(2);
        }
        Err(Misunderstood::Settings(failure)) => {
            say(io::stderr(), &format!("tufline-device: {failure}"));
            return ExitCode::from(2);
        }
    };
    let Asked { command, json } = asked;
    match run(command) {
        Ok(told) => {
            if json {
                say(io::stdout(), &text(&told));
            } else {
                told.lines.iter().for_each(|line| say(io::stdout(), line));
            }
            ExitCode::from(told.exit)
        }
        Err(failure) => {
            if json {
                say(
                    io::stdout(),
                    &json!({ "error": failure.to_string(), "kind": failure.kind() }).to_string(),
                );
            }
            say(io::stderr(), &format!("tufline-device: {failure}"));
            ExitCode::from(1)
        }
    }
}

fn run(command: Command) -> Result<Told, Failure> {
    let mut told = Told::default();
    match command {
        Command::Help => told.lines.extend(HELP.lines().map(str::to_owned)),
        Command::Version => {
            told.lines.push(concat!("tufline-device ", env!("CARGO_PKG_VERSION")).to_owned());
        }
        Command::Init { metadata_dir, root } => {
            let version = Device::init(&metadata_dir, &root)?;
            told.root(version);
        }
        Command::Refresh(settings) => {
            let device = refreshed(settings, &[], &[])?;
            told.root(device.root_version());
        }
        Command::Check(settings, names) => {
            let mut device = refreshed(settings, &names, &[])?;
            let mut targets = Vec::new();
            for name in names {
                let found = device.find(&name)?.ok_or(Failure::NoSuchTarget(name))?;
                told.lines.push(line(&found));
                targets.push(fields(&found));
            }
            told.fields.insert("targets".to_owned(), targets.into());
        }
        Command::Fetch { settings, name, out, seed } => {
            let mut device = refreshed(settings, &[], std::slice::from_ref(&name))?;
            told.fetched(&device.find_and_fetch(&name, &out, seed.as_deref())?, &name, &out);
        }
        Command::Download(settings, names, folder) => {
            download(settings, &names, &folder, &mut told)?;
        }
        Command::Run { settings, once } => stay(settings, once, &mut told)?,
    }
    Ok(told)
}

/// Keeps the device up to date.
fn stay(settings: Settings, once: bool, told: &mut Told) -> Result<(), Failure> {
    let tell = |line: &str| say(io::stderr(), &format!("tufline-device: {line}"));
    let (outcome, exit) = match tufline_device::run(settings, once, &tell) {
        // A service that is started again goes on with the same settings.
        Err(failure @ Failure::Settings(_)) => {
            tell(&failure.to_string());
            ("failed", 2)
        }
        Err(failure) => return Err(failure),
        Ok(ran) => ended(ran),
    };
    told.fields.insert("outcome".to_owned(), outcome.into());
    told.exit = exit;
    Ok(())
}

/// How it ended, for programs.
fn ended(ran: Ran) -> (&'static str, u8) {
    match ran {
        Ran::Done => ("done", 0),
        Ran::Failed => ("failed", 1),
        Ran::NotInstalled => ("not-installed", 3),
        Ran::Waits => ("waits", 4),
    }
}

fn download(
    settings: Settings,
    names: &[String],
    folder: &Path,
    told: &mut Told,
) -> Result<(), Failure> {
    let mut device = refreshed(settings, &[], names)?;
    for name in names {
        let to = folder.join(tufline_device::file_name(name));
        told.fetched(&device.find_and_fetch(name, &to, None)?, name, &to);
    }
    Ok(())
}

/// A device that has the newest metadata, before these targets are looked for, and some fetched.
fn refreshed(
    settings: Settings,
    to_find: &[String],
    to_fetch: &[String],
) -> Result<Device, Failure> {
    fn texts(names: &[String]) -> Vec<&str> {
        names.iter().map(String::as_str).collect()
    }
    let mut device = Device::open(settings)?;
    device.refresh_for(&texts(to_find), &texts(to_fetch))?;
    // It costs round trips and no update, so that nobody else would notice.
    if let Some(why) = device.pack_failure() {
        let line = format!(
            "tufline-device: the pack could not be used ({why}): files were asked for one by one"
        );
        say(io::stderr(), &line);
    }
    Ok(device)
}

impl Told {
    fn root(&mut self, version: u64) {
        self.lines.push(format!("version {version} of the root is trusted"));
        self.fields.insert("root".to_owned(), version.into());
    }

    fn fetched(&mut self, fetched: &FetchedTarget, name: &str, to: &Path) {
        let how = match (fetched.received, fetched.copied) {
            (0, 0) => "was there".to_owned(),
            (received, 0) => format!("{received} bytes came"),
            (received, copied) => format!("{received} bytes came, {copied} are the seed's"),
        };
        let how = fetched
            .whole_because
            .as_ref()
            .map_or(how.clone(), |why| format!("{how}, whole because {why}"));
        self.lines.push(format!(
            "{name} is in {}: {} bytes, verified; {how}",
            to.display(),
            fetched.length
        ));
        let mut fields = json!({ "name": name, "path": to.to_string_lossy(), "length": fetched.length, "received": fetched.received });
        // Said where there was a seed.
        if let Some(fields) = fields.as_object_mut() {
            if fetched.copied > 0 {
                fields.insert("copied".to_owned(), fetched.copied.into());
            }
            if let Some(why) = &fetched.whole_because {
                fields.insert("whole_because".to_owned(), why.as_str().into());
            }
        }
        match self.fields.get_mut("fetched").and_then(Value::as_array_mut) {
            Some(all) => all.push(fields),
            None => _ = self.fields.insert("fetched".to_owned(), json!([fields])),
        }
    }
}

fn fields(found: &FoundTarget) -> Value {
    let FoundTarget { name, role, target, .. } = found;
    let custom =
        target.custom.as_deref().and_then(|custom| serde_json::from_str::<Value>(custom).ok());
    json!({ "name": name, "role": role, "length": target.length, "digest": target.digest(), "custom": custom })
}

fn line(found: &FoundTarget) -> String {
    let digest = found.target.digest().unwrap_or_default();
    let custom =
        found.target.custom.as_ref().map(|custom| format!(", {custom}")).unwrap_or_default();
    format!("{}: {} bytes, {digest}, from {}{custom}", found.name, found.target.length, found.role)
}

fn text(told: &Told) -> String {
    serde_json::to_string(told).unwrap_or_default()
}

/// What a server says may stand in it, and must do nothing to a terminal. Who doesn't listen any more misses it.
fn say(mut to: impl Write, line: &str) {
    // Those that turn the writing round (Unicode TR 9) make a line say something else.
    let is_hidden = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(line.len());
    for letter in line.chars() {
        if is_hidden(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    _ = writeln!(to, "{shown}");
}
