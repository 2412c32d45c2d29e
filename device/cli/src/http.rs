//! Requests.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ureq::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, LOCATION, RANGE,
};
use ureq::http::response::Parts;
use ureq::http::{HeaderMap, StatusCode};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsConfigBuilder};
use ureq::{Agent, Body, BodyReader};

use crate::failure::{Failure, NetworkFailure};
use crate::identity::Shown;
use crate::location;
use crate::patience::now;
use crate::settings::{Identity, Settings};

/// A connection is made, a request is answered, and the next bytes come within this time each; else it is broken.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// A pack of 4 MiB comes within this time at 14 kB/s; most have a few kilobytes.
const LONGEST_PACK: Duration = Duration::from_mins(5);

/// The rate is looked at over so long.
const RATE_OVER: Duration = Duration::from_secs(30);

/// So often a server may point elsewhere.
const MOST_REDIRECTS: usize = 5;

/// Longer tags are no tags: whoever sends one back sends a head that servers refuse.
const LONGEST_ETAG: usize = 256;

/// How a device asks.
#[derive(Debug, Clone)]
pub struct Connection {
    /// With the certificate that the device shows of itself, if it has one.
    agent: Agent,
    /// Without: for servers that another one pointed to.
    stranger: Agent,
    /// What it shows in its requests.
    shown: Option<Arc<Shown>>,
    slowest: u64,
    deadline: Instant,
    budget: Arc<Budget>,
}

/// What may come: bytes of bodies, as they are sent.
#[derive(Debug)]
pub struct Budget {
    most: u64,
    received: AtomicU64,
    is_stopped: AtomicBool,
}

impl Budget {
    /// So many bytes came.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Nothing more may come: as if the deadline were now.
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

/// An answer.
pub enum Answer {
    /// There is such a file.
    File(FileAnswer),
    /// There is none.
    Missing,
    /// It isn't said whether there is one: some stores say so of files that aren't there to those who may not list them
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>, "Permissions").
    Forbidden,
}

/// A file's bytes.
pub struct FileAnswer {
    /// From which on.
    pub from: u64,
    /// Whether the server says that it is a part of a file (RFC 9110, section 15.3.7).
    pub is_part: bool,
    /// So many come, if the server says so.
    pub length: Option<u64>,
    /// What tells these bytes from others at this place, if the server says so.
    pub etag: Option<String>,
    is_encoded: bool,
    /// Whether the budget was spent on it before it came.
    is_paid: bool,
    body: Box<BodyReader<'static>>,
    slowest: u64,
    deadline: Instant,
    budget: Arc<Budget>,
    window: (Instant, u64),
}

impl Connection {
    pub fn new(settings: &Settings) -> Result<Self, Failure> {
        let trusted = match &settings.ca {
            Some(path) => RootCerts::new_with_certs(&certificates(path)?),
            None => RootCerts::PlatformVerifier,
        };
        let tls = || {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            TlsConfig::builder().unversioned_rustls_crypto_provider(provider).root_certs(trusted.clone())
        };
        let certificate = match &settings.identity {
            Identity::Certificate { certificate, key } | Identity::Iot { certificate, key, .. } => {
                let pem = std::fs::read(key).map_err(Failure::file("read", key))?;
                let key = PrivateKey::from_pem(&pem)
                    .map_err(|error| Failure::Settings(format!("{}: {error}", key.display())))?;
                Some(ClientCert::new_with_certs(&certificates(certificate)?, key))
            }
            Identity::None | Identity::Token(_) | Identity::TokenCommand(_) | Identity::Keys(_) => None,
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
        let shown = Shown::new(settings, || known.clone())?.map(Arc::new);
        Ok(Self {
            // A certificate for who gives keys is for nobody else.
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

    /// Nothing is asked for after this.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What may come, and came: others may look at it, and stop it.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Whether so many bytes more may come.
    pub fn expect_budget(&self, needs: u64) -> Result<(), NetworkFailure> {
        self.budget.expect(needs)
    }

    /// The same for a pack: with half of the time that is left, so that there is some for names, and no more than [`LONGEST_PACK`].
    pub fn for_a_pack(&self) -> Self {
        Self { deadline: now() + (self.left() / 2).min(LONGEST_PACK), ..self.clone() }
    }

    /// A whole document, of which `most` bytes are read, and one more to show that there are more.
    pub fn document(&self, url: &str, most: usize) -> Result<Option<Vec<u8>>, NetworkFailure> {
        let mut file = match self.get(url, &HeaderMap::new(), most as u64, &mut None)? {
            Answer::File(file) => file,
            Answer::Missing => return Ok(None),
            Answer::Forbidden => return Err(NetworkFailure::Status(403)),
        };
        let mut bytes = Vec::new();
        let mut piece = [0; 8192];
        while bytes.len() <= most {
            match file.read(&mut piece)? {
                [] => break,
                piece => bytes.extend_from_slice(piece),
            }
        }
        Ok(Some(bytes))
    }

    /// A file of this length from its byte `from` on, if it still has this `ETag` (RFC 9110, section 13.1.5); else from its beginning. Not compressed: a
    /// part of a compressed file is nothing.
    pub fn file(&self, url: &str, length: u64, from: u64, etag: Option<&str>) -> Result<Answer, NetworkFailure> {
        let mut fields = HeaderMap::new();
        fields.insert(ACCEPT_ENCODING, ureq::http::HeaderValue::from_static("identity"));
        if from > 0 {
            insert(&mut fields, RANGE, &format!("bytes={from}-"));
            // A weak one can't tell parts from each other.
            if let Some(etag) = etag.filter(|etag| !etag.starts_with("W/")) {
                insert(&mut fields, IF_RANGE, etag);
            }
        }
        expect_plain(self.get(url, &fields, length, &mut None)?)
    }

    /// These bytes of a file, or all of it from a server that knows no parts. Where one points elsewhere is kept in `link`, and asked at once the next
    /// time; until that answers otherwise, as a link that has expired does.
    pub fn range(&self, url: &str, part: &Range<u64>, link: &mut Option<String>) -> Result<Answer, NetworkFailure> {
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

    /// Asks, also elsewhere if the server points there: as a stranger then, since who the device is, is for this server only. `link` is where that was.
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
            let to = parts.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            url = location::resolve(&url, to).map_err(NetworkFailure::Broken)?;
            (parts, body) = self.ask(&self.stranger, &url, fields, length)?;
            *link = Some(url.clone());
        }
        Err(NetworkFailure::Broken(format!("the servers point to each other more than {MOST_REDIRECTS} times")))
    }

    /// Asks the first server, to which the device shows who it is: once more if it isn't let in, and has something else to show.
    fn ask_as_known(&self, url: &str, fields: &HeaderMap, length: u64) -> Result<(Parts, Body), NetworkFailure> {
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

    /// One request. However its answer comes, it ends when that many bytes would have come at the slowest rate.
    fn ask(&self, agent: &Agent, url: &str, fields: &HeaderMap, length: u64) -> Result<(Parts, Body), NetworkFailure> {
        let longest = LONGEST_SILENCE * 2 + Duration::from_secs(length / self.slowest.max(1));
        let mut request = agent.get(url).config().timeout_global(Some(longest.min(self.left()))).build();
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let answer = request.call().map_err(|error| self.failure(&error.to_string()))?;
        Ok(answer.into_parts())
    }

    fn answer(&self, parts: &Parts, body: Body) -> Result<Answer, NetworkFailure> {
        let from = match parts.status {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => begin(&parts.headers)
                .ok_or_else(|| NetworkFailure::Broken("the answer has no usable Content-Range".to_owned()))?,
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Answer::Missing),
            StatusCode::FORBIDDEN => return Ok(Answer::Forbidden),
            status => return Err(NetworkFailure::Status(status.as_u16())),
        };
        let is_encoded = parts.headers.contains_key(CONTENT_ENCODING);
        let sent = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.budget.expect(sent.unwrap_or(0))?;
        // Of what is unpacked on its way only this tells how much is sent.
        let paid = sent.filter(|_| is_encoded);
        self.budget.spend(paid.unwrap_or(0));
        let etag = parts.headers.get(ETAG).and_then(|etag| etag.to_str().ok());
        Ok(Answer::File(FileAnswer {
            from,
            is_part: parts.status == StatusCode::PARTIAL_CONTENT,
            length: body.content_length(),
            etag: etag.filter(|etag| etag.len() <= LONGEST_ETAG).map(str::to_owned),
            is_encoded,
            is_paid: paid.is_some(),
            body: Box::new(reader(body)),
            slowest: self.slowest,
            deadline: self.deadline,
            budget: Arc::clone(&self.budget),
            window: (now(), 0),
        }))
    }

    fn failure(&self, why: &str) -> NetworkFailure {
        if now() >= self.deadline { NetworkFailure::TooLate } else { NetworkFailure::Broken(why.to_owned()) }
    }
}

impl FileAnswer {
    /// The next bytes; none at the end.
    pub fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<&'b [u8], NetworkFailure> {
        let read = loop {
            match self.body.read(buffer) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if now() >= self.deadline => return Err(NetworkFailure::TooLate),
                Err(error) => return Err(NetworkFailure::Broken(format!("the connection broke: {error}"))),
            }
        };
        if !self.is_paid {
            self.budget.expect(read as u64)?;
            self.budget.spend(read as u64);
        }
        self.expect_rate(read)?;
        Ok(buffer.get(..read).unwrap_or_default())
    }

    /// Whoever answers a byte now and then would keep a device from updating (the slow retrieval attack).
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

/// What was not asked for packed must not come packed: a part of it would be nothing.
fn expect_plain(answer: Answer) -> Result<Answer, NetworkFailure> {
    if let Answer::File(FileAnswer { is_encoded: true, .. }) = &answer {
        return Err(NetworkFailure::Broken("the answer is compressed, which was not asked for".to_owned()));
    }
    Ok(answer)
}

fn reader(body: Body) -> BodyReader<'static> {
    body.into_with_config().limit(u64::MAX).reader()
}

/// The first byte of a part (RFC 9110, section 14.4).
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
