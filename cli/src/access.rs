//! How a device proves to the API that it may read, where that isn't open to all.

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
    HttpTransport, HttpTransportBuilder, Transport, TransportError, TransportErrorKind, TransportStream, async_trait,
};
use tufline_aws::{Clients, DeviceSigner, NotSigned};
use tufline_store::{BoxedError, ErrorKind};
use url::Url;

use crate::failure::kind;
use crate::process;

/// A request that failed is tried so often, with these pauses between.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];

/// Where nothing comes for so long, nothing more will.
const LONGEST_SILENCE: Duration = Duration::from_mins(1);

/// Whom the API lets in.
#[derive(Debug, Clone)]
pub enum DeviceAccess {
    /// Everybody.
    Open,
    /// Who signs requests with an IAM identity.
    Iam(DeviceSigner),
    /// Who has a token.
    Token(String),
}

impl DeviceAccess {
    /// What `mode` asks for (`TUFLINE_ACCESS`; open where it isn't set), by the credentials of `clients` or the environment.
    pub fn of(mode: Option<&str>, clients: &Clients) -> anyhow::Result<Self> {
        match mode {
            None | Some("open") => Ok(Self::Open),
            Some("iam") => match clients.device_signer() {
                Some(signer) => Ok(Self::Iam(signer)),
                None => bail!("devices sign their requests here: give AWS credentials that may invoke the API"),
            },
            Some("jwt") => match process::variable("TUFLINE_DEVICE_TOKEN") {
                Some(token) => Ok(Self::Token(token)),
                None => bail!("devices show a token here: give one in TUFLINE_DEVICE_TOKEN"),
            },
            Some("mtls") => bail!("devices show a certificate here, which this command can't"),
            Some(other) => bail!("TUFLINE_ACCESS is '{other}': expected open, iam, jwt or mtls"),
        }
    }

    /// How such a device fetches.
    pub fn transport(&self) -> anyhow::Result<DeviceTransport> {
        if let Self::Open = self {
            return Ok(DeviceTransport::Open(Box::new(open())));
        }
        // reqwest takes the process's, where several are compiled in; it is set already where somebody else was first.
        _ = aws_lc_rs::default_provider().install_default();
        Ok(DeviceTransport::Authorized {
            client: Client::builder().redirect(Policy::none()).build()?,
            access: self.clone(),
        })
    }

    /// How a client fetches many short files: over connections that it uses again.
    pub fn pooled(&self) -> anyhow::Result<DeviceTransport> {
        _ = aws_lc_rs::default_provider().install_default();
        // A request that is signed follows redirects without that.
        let redirects = if let Self::Open = self { Policy::limited(10) } else { Policy::none() };
        Ok(DeviceTransport::Authorized {
            client: Client::builder().redirect(redirects).read_timeout(LONGEST_SILENCE).build()?,
            access: self.clone(),
        })
    }

    /// The header fields that let a GET of `url` in.
    async fn fields(&self, url: &Url) -> anyhow::Result<HeaderMap> {
        Ok(match self {
            Self::Open => HeaderMap::new(),
            Self::Iam(signer) => {
                let headers = signer.sign(url.as_str(), process::system_time()).await?;
                let field = |(name, value): (String, String)| {
                    Ok::<_, anyhow::Error>((HeaderName::try_from(name)?, HeaderValue::try_from(value)?))
                };
                headers.into_iter().map(field).collect::<anyhow::Result<_>>()?
            }
            Self::Token(token) => {
                let value = HeaderValue::try_from(format!("Bearer {token}"))
                    .context("TUFLINE_DEVICE_TOKEN is not a token: it has characters that no HTTP field can have")?;
                HeaderMap::from_iter([(AUTHORIZATION, value)])
            }
        })
    }
}

/// How a device fetches where everybody may: with tough's own defaults it would take 180 ms for each file.
pub fn open() -> HttpTransport {
    HttpTransportBuilder::new()
        .crypto_provider(aws_lc_rs::default_provider())
        .tries(3)
        .initial_backoff(Duration::from_millis(20))
        .build()
}

/// Fetches for a TUF client.
#[derive(Debug, Clone)]
pub enum DeviceTransport {
    /// As tough does by itself.
    Open(Box<HttpTransport>),
    /// With what lets the device in, over connections that are used again.
    Authorized {
        /// The HTTP client, which follows no redirects by itself.
        client: Client,
        /// What lets it in.
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
                        Err(error) if error.kind() == TransportErrorKind::Other && may_pass(&error) => {
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

/// What a server answers in place of a file, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorAnswer(pub StatusCode);

impl ErrorAnswer {
    /// That of a failed fetch, if a server answered at all.
    pub fn of(error: &TransportError) -> Option<Self> {
        causes(error).find_map(|cause| {
            let status = cause.downcast_ref::<reqwest::Error>().and_then(reqwest::Error::status).map(Self);
            cause.downcast_ref().copied().or(status)
        })
    }

    /// Whether it says who may have the file, and not whether there is one.
    pub fn is_denied(self) -> bool {
        matches!(self.0, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED)
    }

    /// What may be done about it.
    pub fn kind(self) -> ErrorKind {
        match self.0 {
            _ if self.is_denied() => ErrorKind::Denied,
            _ if self.may_pass() => ErrorKind::Retry,
            StatusCode::NOT_FOUND | StatusCode::GONE => ErrorKind::Missing,
            _ => ErrorKind::Invalid,
        }
    }

    /// Whether asking again may help.
    fn may_pass(self) -> bool {
        self.0.is_server_error() || matches!(self.0, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
    }
}

impl fmt::Display for ErrorAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HTTP {}", self.0)?;
        formatter.write_str(match self.0 {
            _ if self.is_denied() => {
                ": look whether the URL is right, and give what lets you in there: in the URL (https://USER:PASSWORD@HOST/… or ?…), or for a \
                 repository of Tufline as docs/devices.md has it"
            }
            StatusCode::TOO_MANY_REQUESTS => ": it is asked too often; run this again later",
            status if status.is_redirection() => {
                ", without a place to go on to: name the URL where the files are"
            }
            _ if self.may_pass() => ": the server fails; run this again later, and ask whoever runs it if that goes on",
            _ => ": look whether the URL is right",
        })
    }
}

impl Error for ErrorAnswer {}

/// What a fetch comes from that failed.
fn causes(error: &TransportError) -> impl Iterator<Item = &(dyn Error + 'static)> {
    successors(error.source(), |error| (*error).source())
}

/// Why nobody could sign the request of a fetch that failed, if that is the reason.
pub fn not_signed(error: &TransportError) -> Option<&NotSigned> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Whether a fetch failed since the server only leads elsewhere, without end.
pub fn is_led_on(error: &TransportError) -> bool {
    causes(error).any(|cause| cause.downcast_ref().is_some_and(reqwest::Error::is_redirect))
}

/// Whether the same fetch may work a moment later.
fn may_pass(error: &TransportError) -> bool {
    match ErrorAnswer::of(error) {
        Some(answer) => answer.may_pass(),
        None => !is_led_on(error) && kind(error).is_none_or(ErrorKind::may_pass),
    }
}

/// Where a redirect leads.
fn link(answer: &Response, url: &Url) -> Option<Url> {
    let location = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection())?;
    url.join(location.to_str().ok()?).ok()
}

async fn get(client: &Client, access: &DeviceAccess, url: &Url) -> Result<TransportStream, TransportError> {
    // Each as it is: whoever asks for its kind finds it.
    let failed = |error: BoxedError| TransportError::new_with_cause(TransportErrorKind::Other, url, error);
    let fields = access.fields(url).await;
    let fields = fields.map_err(|error| failed(error.reallocate_into_boxed_dyn_error_without_backtrace()))?;
    let mut answer = client.get(url.clone()).headers(fields).send().await.map_err(|error| failed(error.into()))?;
    if let Some(link) = link(&answer, url) {
        // The link is signed itself, and S3 refuses a request that is signed twice.
        answer = client.get(link).send().await.map_err(|error| failed(error.into()))?;
    }
    let status = answer.status();
    if !status.is_success() {
        // Where everybody is let in, it is how some say that there is no such file: S3, to whom may not list it.
        let is_absent =
            matches!(access, DeviceAccess::Open) && matches!(status, StatusCode::FORBIDDEN | StatusCode::GONE);
        let kind = if is_absent || status == StatusCode::NOT_FOUND {
            TransportErrorKind::FileNotFound
        } else {
            TransportErrorKind::Other
        };
        return Err(TransportError::new_with_cause(kind, url, ErrorAnswer(status)));
    }
    let url = url.clone();
    let bytes = answer.bytes_stream();
    Ok(Box::pin(bytes.map_err(move |error| TransportError::new_with_cause(TransportErrorKind::Other, &url, error))))
}
