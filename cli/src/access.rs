//! HTTP access to a repository's API, as a device has it: open, signed with IAM, or with a token.

use std::error::Error;
use std::fmt;
use std::iter::successors;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::TryStreamExt;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use rustls::crypto::aws_lc_rs;
use tough::{
    HttpTransport, HttpTransportBuilder, Transport, TransportError, TransportErrorKind,
    TransportStream, async_trait,
};
use tufline_aws::{Clients, DeviceSigner, NotSigned};
use tufline_store::{BoxedError, ErrorKind};
use url::Url;

use crate::failure::kind;
use crate::process;

/// The pauses before the second and the third attempt of a request that failed.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];

/// A server that sends nothing for this long is given up.
const LONGEST_SILENCE: Duration = Duration::from_mins(1);

/// What the API asks of a device before it answers.
#[derive(Debug, Clone)]
pub enum DeviceAccess {
    /// Nothing.
    Open,
    /// Requests signed with an IAM identity (SigV4).
    Iam(DeviceSigner),
    /// This bearer token.
    Token(String),
}

impl DeviceAccess {
    /// The access for `mode` (`TUFLINE_ACCESS`; open if unset). The credentials come from
    /// `clients`, a token from the environment.
    pub fn of(mode: Option<&str>, clients: &Clients) -> anyhow::Result<Self> {
        match mode {
            None | Some("open") => Ok(Self::Open),
            Some("iam") => match clients.device_signer() {
                Some(signer) => Ok(Self::Iam(signer)),
                None => bail!(
                    "the API accepts only signed requests: give AWS credentials that may invoke it"
                ),
            },
            Some("jwt") => match process::variable("TUFLINE_DEVICE_TOKEN") {
                Some(token) => Ok(Self::Token(token)),
                None => bail!(
                    "the API accepts only requests with a token: give one in TUFLINE_DEVICE_TOKEN"
                ),
            },
            Some("mtls") => {
                bail!(
                    "the API accepts only devices with a client certificate, which this command \
                     cannot send"
                )
            }
            Some(other) => bail!("TUFLINE_ACCESS is '{other}': expected open, iam, jwt or mtls"),
        }
    }

    /// The transport with which such a device fetches.
    pub fn transport(&self) -> anyhow::Result<DeviceTransport> {
        if let Self::Open = self {
            return Ok(DeviceTransport::Open(Box::new(open())));
        }
        // Where several TLS providers are compiled in, reqwest uses the process's default. This
        // fails only if one is installed already, which is fine.
        _ = aws_lc_rs::default_provider().install_default();
        Ok(DeviceTransport::Authorized {
            client: Client::builder().redirect(Policy::none()).build()?,
            access: self.clone(),
        })
    }

    /// The transport for many short files: it keeps connections open and reuses them.
    pub fn pooled(&self) -> anyhow::Result<DeviceTransport> {
        _ = aws_lc_rs::default_provider().install_default();
        // `get` follows the redirect of an authorized request itself, without the authorization.
        let redirects = if let Self::Open = self { Policy::limited(10) } else { Policy::none() };
        Ok(DeviceTransport::Authorized {
            client: Client::builder().redirect(redirects).read_timeout(LONGEST_SILENCE).build()?,
            access: self.clone(),
        })
    }

    /// The header fields that authorize a GET of `url`.
    async fn fields(&self, url: &Url) -> anyhow::Result<HeaderMap> {
        Ok(match self {
            Self::Open => HeaderMap::new(),
            Self::Iam(signer) => {
                let headers = signer.sign(url.as_str(), process::system_time()).await?;
                let field = |(name, value): (String, String)| {
                    Ok::<_, anyhow::Error>((
                        HeaderName::try_from(name)?,
                        HeaderValue::try_from(value)?,
                    ))
                };
                headers.into_iter().map(field).collect::<anyhow::Result<_>>()?
            }
            Self::Token(token) => {
                let value = HeaderValue::try_from(format!("Bearer {token}")).context(
                    "TUFLINE_DEVICE_TOKEN is not a token: it has characters that are not allowed \
                     in an HTTP header",
                )?;
                HeaderMap::from_iter([(AUTHORIZATION, value)])
            }
        })
    }
}

/// The transport for an open API. tough waits before every attempt, even the first: with its
/// defaults each file would take 180 ms longer.
pub fn open() -> HttpTransport {
    HttpTransportBuilder::new()
        .crypto_provider(aws_lc_rs::default_provider())
        .tries(3)
        .initial_backoff(Duration::from_millis(20))
        .build()
}

/// The transport of a TUF client.
#[derive(Debug, Clone)]
pub enum DeviceTransport {
    /// tough's own transport.
    Open(Box<HttpTransport>),
    /// Sends the device's authorization, over connections that are reused.
    Authorized {
        /// The HTTP client. It follows redirects by itself only where access is open.
        client: Client,
        /// The authorization.
        access: DeviceAccess,
    },
}

#[async_trait]
impl Transport for DeviceTransport {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        match self {
            Self::Open(transport) => transport.fetch(url).await,
            Self::Authorized { client, access } => {
                for pause in PAUSES {
                    match get(client, access, &url).await {
                        Err(error)
                            if error.kind() == TransportErrorKind::Other && may_pass(&error) =>
                        {
                            tokio::time::sleep(pause).await;
                        }
                        ended => return ended,
                    }
                }
                get(client, access, &url).await
            }
        }
    }
}

/// The status that a server answered instead of a file. Its text says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorAnswer(pub StatusCode);

impl ErrorAnswer {
    /// The answer in a failed fetch, if a server answered at all.
    pub fn of(error: &TransportError) -> Option<Self> {
        causes(error).find_map(|cause| {
            let status =
                cause.downcast_ref::<reqwest::Error>().and_then(reqwest::Error::status).map(Self);
            cause.downcast_ref().copied().or(status)
        })
    }

    /// Whether the server refused access, so that nobody knows whether the file exists.
    pub fn is_denied(self) -> bool {
        matches!(
            self.0,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        )
    }

    /// The kind of failure, which says what the caller may do about it.
    pub fn kind(self) -> ErrorKind {
        match self.0 {
            _ if self.is_denied() => ErrorKind::Denied,
            _ if self.may_pass() => ErrorKind::Retry,
            StatusCode::NOT_FOUND | StatusCode::GONE => ErrorKind::Missing,
            _ => ErrorKind::Invalid,
        }
    }

    /// Whether another attempt may succeed.
    fn may_pass(self) -> bool {
        self.0.is_server_error()
            || matches!(self.0, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
    }
}

impl fmt::Display for ErrorAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HTTP {}", self.0)?;
        formatter.write_str(match self.0 {
            _ if self.is_denied() => {
                ": check the URL, and give the credentials that the server asks for: in the URL \
                 (https://USER:PASSWORD@HOST/… or ?…), or for a Tufline repository as \
                 docs/uploads.md shows"
            }
            StatusCode::TOO_MANY_REQUESTS => ": too many requests; run this again later",
            status if status.is_redirection() => {
                ", a redirect that leads nowhere: name the URL \
                                                  where the files are"
            }
            _ if self.may_pass() => {
                ": the server failed; run this again later, and tell its operator if it keeps \
                 failing"
            }
            _ => ": check the URL",
        })
    }
}

impl Error for ErrorAnswer {}

/// The chain of causes below a failed fetch.
fn causes(error: &TransportError) -> impl Iterator<Item = &(dyn Error + 'static)> {
    successors(error.source(), |error| (*error).source())
}

/// Why the request could not be signed, if the fetch failed for that reason.
pub fn not_signed(error: &TransportError) -> Option<&NotSigned> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Whether a fetch failed because the server redirected too often.
pub fn is_led_on(error: &TransportError) -> bool {
    causes(error).any(|cause| cause.downcast_ref().is_some_and(reqwest::Error::is_redirect))
}

/// Whether the same fetch may succeed a moment later.
fn may_pass(error: &TransportError) -> bool {
    match ErrorAnswer::of(error) {
        Some(answer) => answer.may_pass(),
        None => !is_led_on(error) && kind(error).is_none_or(ErrorKind::may_pass),
    }
}

/// The URL to which an answer redirects, if it does.
fn link(answer: &Response, url: &Url) -> Option<Url> {
    let location = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection())?;
    url.join(location.to_str().ok()?).ok()
}

async fn get(
    client: &Client,
    access: &DeviceAccess,
    url: &Url,
) -> Result<TransportStream, TransportError> {
    // The cause stays as it is, so that callers can find its type in the chain.
    let failed =
        |error: BoxedError| TransportError::new_with_cause(TransportErrorKind::Other, url, error);
    let fields = access.fields(url).await;
    let fields = fields
        .map_err(|error| failed(error.reallocate_into_boxed_dyn_error_without_backtrace()))?;
    let mut answer = client
        .get(url.clone())
        .headers(fields)
        .send()
        .await
        .map_err(|error| failed(error.into()))?;
    if let Some(link) = link(&answer, url) {
        // The link carries its own signature, and S3 refuses a request with two.
        answer = client.get(link).send().await.map_err(|error| failed(error.into()))?;
    }
    let status = answer.status();
    if !status.is_success() {
        // Where access is open, 403 can mean "no such file": S3 answers so to a client that may not
        // list the bucket.
        let is_absent = matches!(access, DeviceAccess::Open)
            && matches!(status, StatusCode::FORBIDDEN | StatusCode::GONE);
        let kind = if is_absent || status == StatusCode::NOT_FOUND {
            TransportErrorKind::FileNotFound
        } else {
            TransportErrorKind::Other
        };
        return Err(TransportError::new_with_cause(kind, url, ErrorAnswer(status)));
    }
    let url = url.clone();
    let bytes = answer.bytes_stream();
    Ok(Box::pin(bytes.map_err(move |error| {
        TransportError::new_with_cause(TransportErrorKind::Other, &url, error)
    })))
}
