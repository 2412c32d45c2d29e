//! What somebody asks for.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;
use tufline_device::{Failure, Settings};

pub const HELP: &str = "\
Updates a device from a TUF repository, and believes nothing that isn't signed.

Usage: tufline-device [OPTION…] COMMAND

Commands:
  init ROOT               begins to trust this root; where it is trusted already, nothing changes
  refresh                 reads the newest metadata
  check NAME…             says what is listed of these targets
  fetch NAME --out FILE   puts a target's bytes into a file, once they are verified; goes on where an earlier try ended
  download                the same for each --target-name, into --target-dir
  run                     stays, asks now and then, and hands each new version to a command: [run] in the settings says which

Options:
  --config FILE           settings (TOML): metadata-dir, metadata-url, targets-url, chunks-url, pack-url, root, ca, identity, region,
                          tries, deadline, max-bytes, slowest, longest-timestamp-days; what is given here counts more
  --metadata-dir DIR      where metadata is kept from one update to the next
  --metadata-url URL      the folder below which the repository's metadata is
  --target-base-url URL   the folder below which its targets are [default: `targets` beside the metadata]
  --pack-url URL          where packs are asked for, if the repository makes such: one answer in place of many
  --target-name NAME      a target (download)
  --target-dir DIR        where targets are put (download), under their percent-encoded names
  --out FILE              where a target is put (fetch)
  --seed FILE             an older image: what it has of the target isn't fetched, if the repository makes chunks (fetch)
  --chunks-url URL        the folder below which chunks are [default: `chunks` beside the targets]
  --once                  ends after one check, and after installing what is new (run)
  --max-bytes N           so many bytes come over the network at most; what would take more is not begun
  --believe-clock         takes the time from the clock even where it is behind what was built and signed
  --json                  answers as one line of JSON
  -h, --help              this
  -V, --version           which version this is

Ends with 0 if all that was asked for is done; 1 if not (the answer says why, with `--json` its kind too: refused, missing, network,
budget, identity, no-such-target, file, settings); 2 if this was not understood. `run --once` ends with 3 if an install failed, now or too often, and
with 4 if what is new waits: for its window, for bytes of the next day, or for its confirmation.";

/// What somebody asks for.
#[derive(Debug)]
pub struct Asked {
    pub command: Command,
    pub json: bool,
}

#[derive(Debug)]
pub enum Command {
    Help,
    Version,
    Init { metadata_dir: PathBuf, root: PathBuf },
    Refresh(Settings),
    Check(Settings, Vec<String>),
    Fetch { settings: Settings, name: String, out: PathBuf, seed: Option<PathBuf> },
    Download(Settings, Vec<String>, PathBuf),
    Run { settings: Settings, once: bool },
}

/// Why it isn't understood.
#[derive(Debug)]
pub enum Misunderstood {
    Usage(String),
    Settings(Failure),
}

impl From<lexopt::Error> for Misunderstood {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// All that was given, in whatever order.
#[derive(Debug, Default)]
struct Given {
    config: Option<PathBuf>,
    metadata_dir: Option<PathBuf>,
    metadata_url: Option<String>,
    targets_url: Option<String>,
    pack_url: Option<String>,
    target_dir: Option<PathBuf>,
    target_names: Vec<String>,
    out: Option<PathBuf>,
    seed: Option<PathBuf>,
    chunks_url: Option<String>,
    max_bytes: Option<u64>,
    once: bool,
    believe_clock: bool,
    words: Vec<OsString>,
}

/// Reads the command line.
pub fn read(mut parser: lexopt::Parser) -> Result<Asked, Misunderstood> {
    let (mut given, mut json) = (Given::default(), false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("config") => given.config = Some(parser.value()?.into()),
            Long("metadata-dir") => given.metadata_dir = Some(parser.value()?.into()),
            Long("metadata-url") => given.metadata_url = Some(parser.value()?.string()?),
            Long("target-base-url") => given.targets_url = Some(parser.value()?.string()?),
            Long("pack-url") => given.pack_url = Some(parser.value()?.string()?),
            Long("target-dir") => given.target_dir = Some(parser.value()?.into()),
            Long("target-name") => given.target_names.push(parser.value()?.string()?),
            Long("seed") => given.seed = Some(parser.value()?.into()),
            Long("chunks-url") => given.chunks_url = Some(parser.value()?.string()?),
            Long("out") => given.out = Some(parser.value()?.into()),
            Long("max-bytes") => given.max_bytes = Some(parser.value()?.parse()?),
            Long("once") => given.once = true,
            Long("believe-clock") => given.believe_clock = true,
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Asked { command: Command::Help, json }),
            Short('V') | Long("version") => return Ok(Asked { command: Command::Version, json }),
            Value(word) => given.words.push(word),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Asked { command: given.command()?, json })
}

impl Given {
    fn command(mut self) -> Result<Command, Misunderstood> {
        if self.words.is_empty() {
            return Err(usage("no command is given"));
        }
        let words = self.words.split_off(1);
        let command = self.words.pop().unwrap_or_default();
        match (command.to_str(), words.as_slice()) {
            (Some("init"), [root]) => {
                let root = root.into();
                Ok(Command::Init { metadata_dir: self.settings()?.metadata_dir, root })
            }
            (Some("init"), _) => Err(usage("init takes one file, the root")),
            (Some("refresh"), []) => Ok(Command::Refresh(self.settings()?)),
            (Some("check"), [_, ..]) => Ok(Command::Check(self.settings()?, names(&words)?)),
            (Some("check"), []) => Err(usage("check takes the names of targets")),
            (Some("fetch"), [name]) => {
                let out = self.out.take().ok_or_else(|| usage("fetch needs --out FILE"))?;
                let seed = self.seed.take();
                Ok(Command::Fetch { settings: self.settings()?, name: text(name)?, out, seed })
            }
            (Some("fetch"), _) => Err(usage("fetch takes the name of one target")),
            (Some("download"), []) => {
                let folder = self
                    .target_dir
                    .take()
                    .ok_or_else(|| usage("download needs --target-dir DIR"))?;
                let names = std::mem::take(&mut self.target_names);
                if names.is_empty() {
                    return Err(usage("download needs --target-name NAME"));
                }
                Ok(Command::Download(self.settings()?, names, folder))
            }
            (Some("run"), []) => Ok(Command::Run { once: self.once, settings: self.settings()? }),
            (Some("refresh" | "download" | "run"), [word, ..]) => {
                Err(usage(&format!("'{}' is one word too many", word.display())))
            }
            _ => Err(usage(&format!("'{}' is no command", command.display()))),
        }
    }

    fn settings(self) -> Result<Settings, Misunderstood> {
        let mut settings = match (self.config, &self.metadata_dir) {
            (Some(config), _) => Settings::read(&config).map_err(Misunderstood::Settings)?,
            (None, Some(folder)) => Settings::new(folder.clone()),
            (None, None) => return Err(usage("give --metadata-dir DIR, or --config FILE")),
        };
        if let Some(folder) = self.metadata_dir {
            settings.metadata_dir = folder;
        }
        if let Some(url) = self.metadata_url {
            settings.metadata_url = url;
        }
        settings.max_bytes = self.max_bytes.or(settings.max_bytes);
        settings.believe_clock |= self.believe_clock;
        settings.targets_url = self.targets_url.or(settings.targets_url);
        settings.chunks_url = self.chunks_url.or(settings.chunks_url);
        settings.pack_url = self.pack_url.or(settings.pack_url);
        Ok(settings)
    }
}

fn names(words: &[OsString]) -> Result<Vec<String>, Misunderstood> {
    words.iter().map(text).collect()
}

fn text(word: &OsString) -> Result<String, Misunderstood> {
    let text = word.to_str().ok_or_else(|| {
        usage(&format!("'{}' is no name of a target, which is UTF-8", word.display()))
    })?;
    Ok(text.to_owned())
}

fn usage(why: &str) -> Misunderstood {
    Misunderstood::Usage(why.to_owned())
}
