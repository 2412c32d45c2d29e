//! HTTP requests, within the device's limits on time, rate and bytes.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use ureq::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, LOCATION,
    RANGE,
};
use ureq::http::response::Parts;
use ureq::http::{HeaderMap, StatusCode};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsConfigBuilder};
use ureq::{Agent, Body, BodyReader};

use crate::failure::{Failure, NetworkFailure};
use crate::identity::{Kept, Shown};
use crate::location;
use crate::patience::now;
use crate::settings::{Identity, Settings};

/// The longest that a device waits to connect, for an answer to begin, and for the next bytes.
/// After this the connection counts as broken.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// The longest that a pack may take. A pack of 4 MiB comes within this time at 14 kB/s; most packs
/// have a few kilobytes.
const LONGEST_PACK: Duration = Duration::from_mins(5);

/// The period over which the rate is measured.
const RATE_OVER: Duration = Duration::from_secs(30);

/// The most redirects that a device follows.
const MOST_REDIRECTS: usize = 5;

/// Longer tags are ignored: a device that sent one back would send a head that servers refuse.
const LONGEST_ETAG: usize = 256;

/// How a device makes requests.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Shows the device's certificate, if it has one.
    agent: Agent,
    /// Shows no certificate: for servers that the first one redirects to.
    stranger: Agent,
    /// The source of the credentials in the request's header.
    shown: Option<Arc<Shown>>,
    slowest: u64,
    deadline: Instant,
    budget: Arc<Budget>,
}

/// The budget for bodies, in bytes as they are sent.
#[derive(Debug)]
pub struct Budget {
    most: u64,
    received: AtomicU64,
    is_stopped: AtomicBool,
}

impl Budget {
    /// The bytes received so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Stops all further reading, as if the deadline were now.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    fn left(&self) -> u64 {
        self.most.saturating_sub(self.received())
    }

    fn expect(&self, needs: u64) -> Result<(), NetworkFailure> {
        if self.is_stopped.load(Ordering::Relaxed) {
            return Err(NetworkFailure::TooLate);
        }
        let left = self.left();
        if needs > left { Err(NetworkFailure::OverBudget { needs, left }) } else { Ok(()) }
    }

    fn spend(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The answer to a request for a file.
pub enum Answer {
    /// The server has the file.
    File(FileAnswer),
    /// The server has no such file.
    Missing,
    /// The server doesn't say whether the file exists. Some stores answer so for missing files if
    /// the caller may not list them
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>, "Permissions").
    Forbidden,
}

/// The bytes of a file, from an offset on.
pub struct FileAnswer {
    /// The offset of the first byte.
    pub from: u64,
    /// Whether the server says that it is a part of a file (RFC 9110, section 15.3.7).
    pub is_part: bool,
    /// The number of bytes that come, if the server says so.
    pub length: Option<u64>,
    /// The `ETag`, if the server sends one.
    pub etag: Option<String>,
    is_encoded: bool,
    body: Box<BodyReader<'static>>,
    slowest: u64,
    deadline: Instant,
    budget: Arc<Budget>,
    window: (Instant, u64),
}

impl Connection {
    /// A connection to a device's servers. `kept` are keys of an earlier one, from
    /// [`Self::keep`].
    pub fn new(settings: &Settings, kept: Option<Kept>) -> Result<Self, Failure> {
        let trusted = match &settings.ca {
            Some(path) => RootCerts::new_with_certs(&certificates(path)?),
            None => RootCerts::PlatformVerifier,
        };
        let tls = || {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            TlsConfig::builder()
                .unversioned_rustls_crypto_provider(provider)
                .root_certs(trusted.clone())
        };
        let certificate = match &settings.identity {
            Identity::Certificate { certificate, key } | Identity::Iot { certificate, key, .. } => {
                let pem = std::fs::read(key).map_err(Failure::file("read", key))?;
                let key = PrivateKey::from_pem(&pem)
                    .map_err(|error| Failure::Settings(format!("{}: {error}", key.display())))?;
                Some(ClientCert::new_with_certs(&certificates(certificate)?, key))
            }
            Identity::None | Identity::Token(_) | Identity::TokenCommand(_) | Identity::Keys(_) => {
                None
            }
        };
        let agent = |tls: TlsConfigBuilder| {
            Agent::config_builder()
                .tls_config(tls.build())
                .user_agent(concat!("tufline-device/", env!("CARGO_PKG_VERSION")))
                .http_status_as_error(false)
                .timeout_connect(Some(LONGEST_SILENCE))
                .timeout_resolve(Some(LONGEST_SILENCE))
                .timeout_send_request(Some(LONGEST_SILENCE))
                .timeout_recv_response(Some(LONGEST_SILENCE))
                .timeout_per_read(Some(LONGEST_SILENCE))
                .max_redirects(0)
                .max_redirects_will_error(false)
                .build()
                .new_agent()
        };
        let deadline = now() + Duration::from_secs(settings.deadline.min(u64::from(u32::MAX)));
        let stranger = agent(tls());
        let known = agent(tls().client_cert(certificate));
        let shown = Shown::new(settings, kept, || known.clone())?.map(Arc::new);
        Ok(Self {
            // The certificate identifies the device to the credentials provider and to no other
            // server.
            agent: if shown.is_some() { stranger.clone() } else { known },
            stranger,
            shown,
            slowest: settings.slowest,
            deadline,
            budget: Arc::new(Budget {
                most: settings.max_bytes.unwrap_or(u64::MAX),
                received: AtomicU64::new(0),
                is_stopped: AtomicBool::new(false),
            }),
        })
    }

    /// The device's keys, for a later connection with the same settings.
    pub fn keep(&self) -> Option<Kept> {
        self.shown.as_ref()?.keep()
    }

    /// When the device stops making requests.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The budget: other threads may read it, and stop the requests by it.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Fails if `needs` more bytes would exceed the budget.
    pub fn expect_budget(&self, needs: u64) -> Result<(), NetworkFailure> {
        self.budget.expect(needs)
    }

    /// This connection with a shorter deadline, for a pack: half of the time that is left, so that
    /// some remains for fetches by name, and at most [`LONGEST_PACK`].
    pub fn for_a_pack(&self) -> Self {
        Self { deadline: now() + (self.left() / 2).min(LONGEST_PACK), ..self.clone() }
    }

    /// Fetches a whole document. Reads at most `most` bytes, and what one more read brings, to show
    /// that there are more.
    pub fn document(&self, url: &str, most: usize) -> Result<Option<Vec<u8>>, NetworkFailure> {
        let mut fields = HeaderMap::new();
        fields.insert(ACCEPT_ENCODING, ureq::http::HeaderValue::from_static("gzip"));
        let file = match self.get(url, &fields, most as u64, &mut None)? {
            Answer::File(file) => file,
            Answer::Missing => return Ok(None),
            Answer::Forbidden => return Err(NetworkFailure::Status(403)),
        };
        let is_packed = file.is_encoded;
        // `ureq` could unpack it too, but would hide how many bytes are sent: they may mean none.
        let mut sent = Sent { file, left: most + 1, failure: None };
        let (mut bytes, limit) = (Vec::new(), most as u64 + 1);
        let read = if is_packed {
            GzDecoder::new(&mut sent).take(limit).read_to_end(&mut bytes)
        } else {
            (&mut sent).take(limit).read_to_end(&mut bytes)
        };
        match (sent.failure, read) {
            (Some(failure), _) => Err(failure),
            (None, Err(error)) => {
                Err(NetworkFailure::Broken(format!("the answer can't be unpacked: {error}")))
            }
            (None, Ok(_)) => {
                // It may be kept beside what is made of it.
                bytes.shrink_to_fit();
                Ok(Some(bytes))
            }
        }
    }

    /// Fetches a file of this length from its byte `from` on, if it still has this `ETag` (RFC
    /// 9110, section 13.1.5), else from its beginning. Asks for no compression: a part of a
    /// compressed file is useless.
    pub fn file(
        &self,
        url: &str,
        length: u64,
        from: u64,
        etag: Option<&str>,
    ) -> Result<Answer, NetworkFailure> {
        let mut fields = HeaderMap::new();
        fields.insert(ACCEPT_ENCODING, ureq::http::HeaderValue::from_static("identity"));
        if from > 0 {
            insert(&mut fields, RANGE, &format!("bytes={from}-"));
            // A weak tag can't identify parts of a file.
            if let Some(etag) = etag.filter(|etag| !etag.starts_with("W/")) {
                insert(&mut fields, IF_RANGE, etag);
            }
        }
        expect_plain(self.get(url, &fields, length, &mut None)?)
    }

    /// Fetches these bytes of a file, or all of it if the server ignores ranges. Keeps the target
    /// of a redirect in `link`, and asks there directly the next time, until that answers with an
    /// error, as an expired link does.
    pub fn range(
        &self,
        url: &str,
        part: &Range<u64>,
        link: &mut Option<String>,
    ) -> Result<Answer, NetworkFailure> {
        let mut fields = HeaderMap::new();
        fields.insert(ACCEPT_ENCODING, ureq::http::HeaderValue::from_static("identity"));
        insert(&mut fields, RANGE, &format!("bytes={}-{}", part.start, part.end.saturating_sub(1)));
        let length = part.end.saturating_sub(part.start);
        if let Some(known) = link.take() {
            let (parts, body) = self.ask(&self.stranger, &known, &fields, length)?;
            if parts.status.is_success() {
                *link = Some(known);
                return expect_plain(self.answer(&parts, body)?);
            }
        }
        expect_plain(self.get(url, &fields, length, link)?)
    }

    /// Asks the server with the device's credentials, and follows its redirects without them: they
    /// are for this server only. Puts the last redirect's target into `link`.
    fn get(
        &self,
        url: &str,
        fields: &HeaderMap,
        length: u64,
        link: &mut Option<String>,
    ) -> Result<Answer, NetworkFailure> {
        let (mut parts, mut body) = self.ask_as_known(url, fields, length)?;
        let mut url = url.to_owned();
        for _ in 0..MOST_REDIRECTS {
            if !matches!(parts.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return self.answer(&parts, body);
            }
            let to =
                parts.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            url = location::resolve(&url, to).map_err(NetworkFailure::Broken)?;
            (parts, body) = self.ask(&self.stranger, &url, fields, length)?;
            *link = Some(url.clone());
        }
        Err(NetworkFailure::Broken(format!(
            "the servers redirect the request more than {MOST_REDIRECTS} times"
        )))
    }

    /// Asks the first server, with the device's credentials. If the server refuses them, asks once
    /// more with new ones, if there are any.
    fn ask_as_known(
        &self,
        url: &str,
        fields: &HeaderMap,
        length: u64,
    ) -> Result<(Parts, Body), NetworkFailure> {
        let Some(shown) = &self.shown else { return self.ask(&self.agent, url, fields, length) };
        let ask = || {
            let mut fields = fields.clone();
            fields.extend(shown.fields(url, self.left())?);
            self.ask(&self.agent, url, &fields, length)
        };
        let (parts, body) = ask()?;
        if !matches!(parts.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            shown.let_in();
            return Ok((parts, body));
        }
        if shown.renew(&parts.headers, self.left())? { ask() } else { Ok((parts, body)) }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(now())
    }

    /// Makes one request. Its time limit is that of a body of `length` bytes at the slowest allowed
    /// rate, however the answer trickles in.
    fn ask(
        &self,
        agent: &Agent,
        url: &str,
        fields: &HeaderMap,
        length: u64,
    ) -> Result<(Parts, Body), NetworkFailure> {
        let longest = LONGEST_SILENCE * 2 + Duration::from_secs(length / self.slowest.max(1));
        let mut request =
            agent.get(url).config().timeout_global(Some(longest.min(self.left()))).build();
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let answer = request.call().map_err(|error| self.failure(&error.to_string()))?;
        Ok(answer.into_parts())
    }

    fn answer(&self, parts: &Parts, body: Body) -> Result<Answer, NetworkFailure> {
        let from = match parts.status {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => begin(&parts.headers).ok_or_else(|| {
                NetworkFailure::Broken("the answer has no usable Content-Range".to_owned())
            })?,
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Answer::Missing),
            StatusCode::FORBIDDEN => return Ok(Answer::Forbidden),
            status => return Err(NetworkFailure::Status(status.as_u16())),
        };
        let is_encoded = parts.headers.contains_key(CONTENT_ENCODING);
        let sent =
            parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.budget.expect(sent.unwrap_or(0))?;
        let etag = parts.headers.get(ETAG).and_then(|etag| etag.to_str().ok());
        Ok(Answer::File(FileAnswer {
            from,
            is_part: parts.status == StatusCode::PARTIAL_CONTENT,
            length: body.content_length(),
            etag: etag.filter(|etag| etag.len() <= LONGEST_ETAG).map(str::to_owned),
            is_encoded,
            body: Box::new(reader(body)),
            slowest: self.slowest,
            deadline: self.deadline,
            budget: Arc::clone(&self.budget),
            window: (now(), 0),
        }))
    }

    fn failure(&self, why: &str) -> NetworkFailure {
        if now() >= self.deadline {
            NetworkFailure::TooLate
        } else {
            NetworkFailure::Broken(why.to_owned())
        }
    }
}

impl FileAnswer {
    /// Reads the next bytes; an empty slice means the end.
    pub fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<&'b [u8], NetworkFailure> {
        let read = loop {
            match self.body.read(buffer) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if now() >= self.deadline => return Err(NetworkFailure::TooLate),
                Err(error) => {
                    return Err(NetworkFailure::Broken(format!("the connection broke: {error}")));
                }
            }
        };
        self.budget.expect(read as u64)?;
        self.budget.spend(read as u64);
        self.expect_rate(read)?;
        Ok(buffer.get(..read).unwrap_or_default())
    }

    /// Fails if the bytes come too slowly. Otherwise a server that sends a byte now and then could
    /// keep a device from updating (the slow retrieval attack).
    fn expect_rate(&mut self, read: usize) -> Result<(), NetworkFailure> {
        let (began, bytes) = self.window;
        let bytes = bytes + read as u64;
        self.window = (began, bytes);
        let elapsed = now().duration_since(began);
        if elapsed >= RATE_OVER {
            if bytes < self.slowest.saturating_mul(elapsed.as_secs()) {
                return Err(NetworkFailure::TooSlow(self.slowest));
            }
            self.window = (now(), 0);
        }
        Ok(())
    }
}

/// Refuses a compressed answer to a request that allowed no compression: a part of it would be
/// useless.
fn expect_plain(answer: Answer) -> Result<Answer, NetworkFailure> {
    if let Answer::File(FileAnswer { is_encoded: true, .. }) = &answer {
        return Err(NetworkFailure::Broken(
            "the answer is compressed, although the request forbids it".to_owned(),
        ));
    }
    Ok(answer)
}

fn reader(body: Body) -> BodyReader<'static> {
    body.into_with_config().limit(u64::MAX).reader()
}

/// The bytes of an answer as they are sent, at most `left` of them.
struct Sent {
    file: FileAnswer,
    left: usize,
    failure: Option<NetworkFailure>,
}

impl Read for Sent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.left);
        if most == 0 {
            return Ok(0);
        }
        match self.file.read(buffer.get_mut(..most).unwrap_or_default()) {
            Ok(read) => {
                self.left -= read.len();
                Ok(read.len())
            }
            Err(failure) => {
                let told = failure.to_string();
                self.failure = Some(failure);
                Err(io::Error::other(told))
            }
        }
    }
}

/// The offset of a part's first byte (RFC 9110, section 14.4).
fn begin(fields: &HeaderMap) -> Option<u64> {
    let range = fields.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}

fn insert(fields: &mut HeaderMap, name: ureq::http::HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        fields.insert(name, value);
    }
}

fn certificates(path: &std::path::Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let pem = std::fs::read(path).map_err(Failure::file("read", path))?;
    let items = ureq::tls::parse_pem(&pem).filter_map(|item| match item {
        Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    let certificates: Result<Vec<_>, _> = items.collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Failure::Settings(format!("{} has no certificate in PEM", path.display()))),
        Err(error) => Err(Failure::Settings(format!("{}: {error}", path.display()))),
    }
}
