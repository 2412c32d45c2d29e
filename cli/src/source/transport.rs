//! Fetches files from the web and from folders.

use std::fmt;
use std::io;
use std::path::{Component, Path};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use percent_encoding::percent_decode_str;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::task::spawn_blocking;
use tough::{Transport, TransportError, TransportErrorKind};
use tufline_folder::given;
use tufline_store::ErrorKind;
use url::Url;

use super::base::{self, Base};
use crate::access::{DeviceAccess, DeviceTransport, ErrorAnswer, is_led_on, not_signed};
use crate::failure::{Failure, kind};
use crate::text::Quoted;

/// Up to this length, in bytes, a file is fetched over reused connections, and from its start after
/// a failure. A longer download resumes where it broke off.
const SHORT: u64 = 1 << 20;

/// How often a file is fetched whose download breaks off.
pub const TRIES: u32 = 3;

/// A file's bytes as they arrive.
pub type Pieces = BoxStream<'static, anyhow::Result<Bytes>>;

/// The result of a fetch that didn't fail: the file, or why it isn't available.
pub type Fetched<T> = std::result::Result<T, Absent>;

/// Why a file isn't available. Its text for people follows the file's name.
#[derive(Debug)]
pub enum Absent {
    /// It doesn't exist, with the server's answer if there is one.
    Missing(Option<String>),
    /// Access is denied, so that it isn't known whether it exists.
    Denied {
        /// The URL and the server's answer.
        answer: String,
        /// Whether some servers also answer so if the file doesn't exist.
        may_be_missing: bool,
    },
}

impl fmt::Display for Absent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(None) => formatter.write_str("is missing there"),
            Self::Missing(Some(answer)) => write!(formatter, "is missing there: {answer}"),
            Self::Denied { answer, .. } => write!(formatter, "is denied: {answer}"),
        }
    }
}

impl Absent {
    /// The failure to fetch a file that must exist.
    pub fn of(self, name: &str) -> Failure {
        let kind = match self {
            Self::Missing(_) => ErrorKind::Missing,
            Self::Denied { .. } => ErrorKind::Denied,
        };
        Failure::new(kind, format!("{name} {self}"))
    }

    /// For a file that may be missing: fails unless it is, or may be, missing.
    pub fn expect_missing(self, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Denied { may_be_missing: false, .. } => Err(self.of(name).into()),
            Self::Missing(_) | Self::Denied { .. } => Ok(()),
        }
    }
}

/// Fetches files as a device does.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Resumes a download where it broke off.
    resuming: DeviceTransport,
    /// Reuses its connections.
    pooled: DeviceTransport,
}

impl Reader {
    pub fn new(access: &DeviceAccess) -> anyhow::Result<Self> {
        Ok(Self { resuming: access.transport()?, pooled: access.pooled()? })
    }

    /// The bytes of a short file, at most `most`.
    pub async fn read(
        &self,
        base: &Base,
        path: &str,
        most: u64,
    ) -> anyhow::Result<Fetched<Vec<u8>>> {
        let mut tries = 1..TRIES;
        loop {
            match self.read_once(base, path, most).await {
                Err(error)
                    if kind(&*error).is_none_or(ErrorKind::may_pass) && tries.next().is_some() => {}
                read => return read,
            }
        }
    }

    async fn read_once(
        &self,
        base: &Base,
        path: &str,
        most: u64,
    ) -> anyhow::Result<Fetched<Vec<u8>>> {
        let mut pieces = match self.open(base, path, 0).await? {
            Ok(pieces) => pieces,
            Err(absent) => return Ok(Err(absent)),
        };
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece?);
            if bytes.len() as u64 > most {
                bail!("{path} has more than {most} bytes");
            }
        }
        Ok(Ok(bytes))
    }

    /// The bytes of the file at the percent-encoded `path`, which is about `length` long.
    pub async fn open(
        &self,
        base: &Base,
        path: &str,
        length: u64,
    ) -> anyhow::Result<Fetched<Pieces>> {
        match base {
            Base::Folder(folder) => from_folder(folder, path).await,
            Base::Web(base) => {
                let transport = if length > SHORT { &self.resuming } else { &self.pooled };
                from_web(transport, base::below(base, path)?).await
            }
        }
    }
}

async fn from_web(transport: &DeviceTransport, url: Url) -> anyhow::Result<Fetched<Pieces>> {
    // The URL may contain credentials, and the library's errors quote it.
    let plain = {
        let url = url.clone();
        move |text: &str| base::without_secrets(text, &url)
    };
    let shown = plain(url.as_str());
    let absent = |error: &TransportError| {
        let (refused, is_missing) =
            (ErrorAnswer::of(error), error.kind() == TransportErrorKind::FileNotFound);
        let answer = refused.map(|refused| format!("{shown} answers {refused}"));
        match (answer, refused.is_some_and(ErrorAnswer::is_denied)) {
            (Some(answer), true) => Some(Absent::Denied { answer, may_be_missing: is_missing }),
            (answer, _) if is_missing => Some(Absent::Missing(answer)),
            _ => None,
        }
    };
    let cannot = {
        let shown = shown.clone();
        // Of the library's errors it keeps only the parts without the URL.
        move |error: TransportError| {
            let told = |why: String| format!("cannot get {shown}: {why}");
            anyhow::Error::from(match (ErrorAnswer::of(&error), not_signed(&error)) {
                (Some(refused), _) => Failure::new(refused.kind(), told(refused.to_string())),
                (None, Some(not_signed)) => {
                    let kind = kind(not_signed).unwrap_or(ErrorKind::Denied);
                    Failure::of(kind, told(not_signed.to_string()), not_signed.clone())
                }
                (None, None) if is_led_on(&error) => {
                    let why = "too many redirects; name the URL where the files are";
                    Failure::new(ErrorKind::Invalid, told(why.into()))
                }
                (None, None) => Failure::new(ErrorKind::Retry, told(plain(&error.to_string()))),
            })
        }
    };
    let mut pieces = match transport.fetch(url).await {
        Err(error) => {
            return absent(&error).map_or_else(|| Err(cannot(error)), |absent| Ok(Err(absent)));
        }
        Ok(pieces) => pieces,
    };
    // Some transports report a missing file only with the first piece.
    let first = pieces.next().await;
    if let Some(absent) = first.as_ref().and_then(|first| absent(first.as_ref().err()?)) {
        return Ok(Err(absent));
    }
    let pieces = stream::iter(first).chain(pieces);
    Ok(Ok(pieces.map_err(cannot).boxed()))
}

/// Opens a file in a folder. Some tools name files by their percent-encoded names, others by the
/// decoded names.
async fn from_folder(folder: &Path, path: &str) -> anyhow::Result<Fetched<Pieces>> {
    let decoded = percent_decode_str(path).decode_utf8_lossy().into_owned();
    for name in [path, &decoded] {
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            continue;
        }
        let file = folder.join(name);
        let cannot = format!("cannot read {}", file.quoted());
        let place = file.clone();
        match spawn_blocking(move || given::open(&place)).await? {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            opened => {
                let opened = File::from_std(opened.context(cannot.clone())?);
                let pieces = stream::try_unfold(opened, move |mut file| {
                    let cannot = cannot.clone();
                    async move {
                        let mut piece = Vec::with_capacity(1 << 16);
                        let read = file.read_buf(&mut piece).await.context(cannot)?;
                        Ok((read > 0).then(|| (Bytes::from(piece), file)))
                    }
                });
                return Ok(Ok(pieces.boxed()));
            }
        }
    }
    Ok(Err(Absent::Missing(None)))
}
