//! Requests.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use ureq::http::{HeaderMap, StatusCode};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, Body, BodyReader};

use crate::failure::{Failure, NetworkFailure};
use crate::patience::now;
use crate::settings::{Identity, Settings};

/// A connection is made, a request is answered, and the next bytes come within this time each; else it is broken.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// The rate is looked at over so long.
const RATE_OVER: Duration = Duration::from_secs(30);

/// How a device asks.
#[derive(Debug, Clone)]
pub struct Connection {
    agent: Agent,
    authorization: Option<String>,
    slowest: u64,
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
    /// So many come, if the server says so.
    pub length: Option<u64>,
    /// What tells these bytes from others at this place, if the server says so.
    pub etag: Option<String>,
    body: BodyReader<'static>,
    slowest: u64,
    window: (Instant, u64),
}

impl Connection {
    pub fn new(settings: &Settings) -> Result<Self, Failure> {
        let mut tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        tls = tls.root_certs(match &settings.ca {
            Some(path) => RootCerts::new_with_certs(&certificates(path)?),
            None => RootCerts::PlatformVerifier,
        });
        let mut authorization = None;
        match &settings.identity {
            Identity::None => {}
            Identity::Token(path) => {
                let token = std::fs::read_to_string(path).map_err(Failure::file("read", path))?;
                authorization = Some(format!("Bearer {}", token.trim()));
            }
            Identity::Certificate { certificate, key } => {
                let pem = std::fs::read(key).map_err(Failure::file("read", key))?;
                let key = PrivateKey::from_pem(&pem)
                    .map_err(|error| Failure::Settings(format!("{}: {error}", key.display())))?;
                tls = tls.client_cert(Some(ClientCert::new_with_certs(&certificates(certificate)?, key)));
            }
        }
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .user_agent(concat!("tufline-device/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .timeout_connect(Some(LONGEST_SILENCE))
            .timeout_resolve(Some(LONGEST_SILENCE))
            .timeout_send_request(Some(LONGEST_SILENCE))
            .timeout_recv_response(Some(LONGEST_SILENCE))
            .timeout_per_read(Some(LONGEST_SILENCE))
            .build()
            .new_agent();
        Ok(Self { agent, authorization, slowest: settings.slowest })
    }

    /// A whole document, of which `most` bytes are read, and one more to show that there are more.
    pub fn document(&self, url: &str, most: usize) -> Result<Option<Vec<u8>>, NetworkFailure> {
        let mut file = match self.get(url, &HeaderMap::new())? {
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

    /// A file from its byte `from` on, if it still has this `ETag` (RFC 9110, section 13.1.5); else from its beginning. Not compressed: a part of a
    /// compressed file is nothing.
    pub fn file(&self, url: &str, from: u64, etag: Option<&str>) -> Result<Answer, NetworkFailure> {
        let mut fields = HeaderMap::new();
        fields.insert(ACCEPT_ENCODING, ureq::http::HeaderValue::from_static("identity"));
        if from > 0 {
            insert(&mut fields, RANGE, &format!("bytes={from}-"));
            // A weak one can't tell parts from each other.
            if let Some(etag) = etag.filter(|etag| !etag.starts_with("W/")) {
                insert(&mut fields, IF_RANGE, etag);
            }
        }
        self.get(url, &fields)
    }

    fn get(&self, url: &str, fields: &HeaderMap) -> Result<Answer, NetworkFailure> {
        let mut request = self.agent.get(url);
        for (name, value) in fields {
            request = request.header(name, value);
        }
        // ureq sends it to the first server only, and to none that this one points to (`RedirectAuthHeaders::Never`).
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let answer = request.call().map_err(|error| broken(&error))?;
        let (parts, body) = answer.into_parts();
        let from = match parts.status {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => begin(&parts.headers)
                .ok_or_else(|| NetworkFailure::Broken("the answer has no usable Content-Range".to_owned()))?,
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Answer::Missing),
            StatusCode::FORBIDDEN => return Ok(Answer::Forbidden),
            status => return Err(NetworkFailure::Status(status.as_u16())),
        };
        let etag = parts.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let length = body.content_length();
        let window = (now(), 0);
        Ok(Answer::File(FileAnswer { from, length, etag, body: reader(body), slowest: self.slowest, window }))
    }
}

impl FileAnswer {
    /// The next bytes; none at the end.
    pub fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<&'b [u8], NetworkFailure> {
        let read = loop {
            match self.body.read(buffer) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NetworkFailure::Broken(format!("the connection broke: {error}"))),
            }
        };
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

fn broken(error: &ureq::Error) -> NetworkFailure {
    NetworkFailure::Broken(error.to_string())
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
