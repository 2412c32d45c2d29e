//! The credentials that a device shows, for as long as they are valid.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use serde_json::Value;
use ureq::Agent;
use ureq::http::header::{AUTHORIZATION, DATE};
use ureq::http::{HeaderMap, HeaderValue, StatusCode};

use crate::command;
use crate::failure::{Failure, NetworkFailure};
use crate::keys::{self, Keys};
use crate::location::shown;
use crate::settings::{Identity, Settings};
use crate::signature;

/// The longest that a device waits for a credentials provider or a command.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest token file, key file or answer of a provider, in bytes. Servers accept heads of 8 to
/// 16 kB; keys come with text around them.
const MOST: u64 = 64 << 10;

/// A clock that is off by more than this is corrected. API Gateway accepts signatures of five
/// minutes before and after its own time.
const CLOCK_MAY_BE_OFF: SignedDuration = SignedDuration::from_mins(1);

/// The most characters of a server's reason for a refusal that go into a message.
const MOST_SAID: usize = 200;

/// A device's credentials for its requests.
pub struct Shown {
    source: Source,
    /// The AWS region for signatures; empty if requests aren't signed.
    region: String,
    state: Mutex<State>,
}

/// The source of the credentials.
enum Source {
    TokenFile(PathBuf),
    TokenCommand(Vec<String>),
    KeysFile(PathBuf),
    /// The credentials provider of AWS IoT Core
    /// (<https://docs.aws.amazon.com/iot/latest/developerguide/authorizing-direct-aws.html>).
    Iot {
        url: String,
        thing: Option<String>,
        agent: Agent,
    },
}

#[derive(Clone, Default)]
struct State {
    held: Option<Held>,
    /// How far the servers' time is ahead of the device's. Only signatures use it: a server that
    /// sends a wrong time only gets a signature that is useless to it.
    ahead: SignedDuration,
    /// The last credentials were refused, and no server has accepted any since.
    is_refused: bool,
}

/// Keys of a credentials provider, for a later update.
pub struct Kept(State);

/// A credential. It never appears in a message.
#[derive(Clone, PartialEq, Eq)]
enum Held {
    Token(String),
    Keys(Keys),
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shown").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Shown {
    /// The credentials of a device with these settings; `None` if its requests carry none. `kept`
    /// are those of an earlier update with the same settings. `agent` makes the HTTP client for the
    /// credentials provider.
    pub fn new(
        settings: &Settings,
        kept: Option<Kept>,
        agent: impl FnOnce() -> Agent,
    ) -> Result<Option<Self>, Failure> {
        let source = match &settings.identity {
            Identity::None | Identity::Certificate { .. } => return Ok(None),
            Identity::Token(path) => Source::TokenFile(path.clone()),
            Identity::TokenCommand(command) => Source::TokenCommand(command.clone()),
            Identity::Keys(path) => Source::KeysFile(path.clone()),
            Identity::Iot { endpoint, role_alias, thing, .. } => {
                let url = credentials_url(endpoint, role_alias)?;
                if let Some(thing) = thing {
                    expect(
                        "thing",
                        thing,
                        is_thing,
                        "give the name of the thing as AWS IoT has it",
                    )?;
                }
                Source::Iot { url, thing: thing.clone(), agent: agent() }
            }
        };
        let region = match &source {
            Source::TokenFile(_) | Source::TokenCommand(_) => String::new(),
            Source::KeysFile(_) | Source::Iot { .. } => region(settings)?,
        };
        let state = kept.map(|Kept(state)| state).unwrap_or_default();
        Ok(Some(Self { source, region, state: Mutex::new(state) }))
    }

    /// The keys for the next update, if a provider gave them and no server refuses them. Files and
    /// commands are asked for each update: they cost no connection, and may say something else.
    pub fn keep(&self) -> Option<Kept> {
        let state = self.state();
        let keeps = matches!(self.source, Source::Iot { .. }) && !state.is_refused;
        keeps.then(|| Kept(state.clone()))
    }

    /// The header fields that authenticate a request for `url` made now. Getting new credentials
    /// may take no longer than `left`.
    pub fn fields(&self, url: &str, left: Duration) -> Result<HeaderMap, NetworkFailure> {
        let mut state = self.state();
        let held = match &state.held {
            // The old keys are still valid for a while, in case there are no new ones.
            Some(Held::Keys(keys)) if keys.expire(state.now()) => {
                let held = Held::Keys(keys.clone());
                self.obtain(&mut state, left).unwrap_or(held)
            }
            Some(held) => held.clone(),
            None => self.obtain(&mut state, left)?,
        };
        match held {
            Held::Token(token) => {
                Ok(HeaderMap::from_iter([(AUTHORIZATION, field(&format!("Bearer {token}"))?)]))
            }
            Held::Keys(keys) => {
                signature::fields(url, &keys, &self.region, state.now()).map_err(cannot)
            }
        }
    }

    /// Handles a refusal (401, 403). Returns whether another try may succeed, because there are new
    /// credentials or the clock was so wrong that the server may have refused the signature for it.
    /// A device tries again once, until a server accepts its credentials.
    pub fn renew(&self, fields: &HeaderMap, left: Duration) -> Result<bool, NetworkFailure> {
        let mut state = self.state();
        if std::mem::replace(&mut state.is_refused, true) {
            return Ok(false);
        }
        let (held, ahead) = (state.held.take(), state.ahead);
        state.learn(fields);
        let is_another = Some(self.obtain(&mut state, left)?) != held;
        Ok(is_another || (state.ahead - ahead).abs() > CLOCK_MAY_BE_OFF)
    }

    /// Records that the server accepted the credentials.
    pub fn let_in(&self) {
        self.state().is_refused = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn obtain(&self, state: &mut State, left: Duration) -> Result<Held, NetworkFailure> {
        let held = match &self.source {
            Source::TokenFile(path) => token(&read(path)?, &path.display().to_string())?,
            Source::TokenCommand(command) => {
                let written = command::output(command, left.min(LONGEST), MOST).map_err(cannot)?;
                token(&written, command.first().map_or("", String::as_str))?
            }
            Source::KeysFile(path) => {
                let keys = Keys::read(&read(path)?);
                Held::Keys(keys.map_err(|why| cannot(format!("{}: {why}", path.display())))?)
            }
            Source::Iot { url, thing, agent } => {
                Held::Keys(ask(agent, url, thing.as_deref(), state, left)?)
            }
        };
        state.held = Some(held.clone());
        Ok(held)
    }
}

impl State {
    /// The device's time, corrected by the servers' time.
    fn now(&self) -> Timestamp {
        now().saturating_add(self.ahead).unwrap_or(Timestamp::MAX)
    }

    /// Takes the time from an answer's `Date` (RFC 9110, section 6.6.1), as AWS's SDKs do after a
    /// refused signature: the device's clock may be wrong.
    fn learn(&mut self, fields: &HeaderMap) {
        let date = fields.get(DATE).and_then(|date| date.to_str().ok());
        if let Some(date) =
            date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok())
        {
            self.ahead = date.duration_since(now());
        }
    }
}

/// Asks a credentials provider for keys, as in
/// <https://docs.aws.amazon.com/iot/latest/developerguide/authorizing-direct-aws.html>.
fn ask(
    agent: &Agent,
    url: &str,
    thing: Option<&str>,
    state: &mut State,
    left: Duration,
) -> Result<Keys, NetworkFailure> {
    let failed = |why: String, is_passing| NetworkFailure::Identity {
        why: format!("{}: {why}", shown(url)),
        is_passing,
    };
    let mut request = agent.get(url).config().timeout_global(Some(left.min(LONGEST))).build();
    if let Some(thing) = thing {
        request = request.header("x-amzn-iot-thingname", thing);
    }
    let answer = request.call().map_err(|error| failed(error.to_string(), true))?;
    let (parts, body) = answer.into_parts();
    state.learn(&parts.headers);
    let mut bytes = Vec::new();
    let read = body.into_with_config().limit(MOST).reader().read_to_end(&mut bytes);
    if parts.status != StatusCode::OK {
        let status = NetworkFailure::Status(parts.status.as_u16());
        return Err(failed(format!("{status}{}", said(&bytes)), status.is_passing()));
    }
    read.map_err(|error| failed(format!("the connection broke: {error}"), true))?;
    // A page in place of the keys may come from a captive portal, which may stop soon.
    Keys::read(&bytes).map_err(|why| failed(format!("no keys came: {why}"), true))
}

/// The reason in an error answer of AWS.
fn said(answer: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let message = answer.get("message").and_then(Value::as_str);
    message
        .map(|message| format!(": {}", message.chars().take(MOST_SAID).collect::<String>()))
        .unwrap_or_default()
}

fn read(path: &Path) -> Result<Vec<u8>, NetworkFailure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes));
    read.map_err(|error| cannot(format!("{} could not be read: {error}", path.display())))?;
    if bytes.len() as u64 > MOST {
        return Err(cannot(format!("{} has more than {MOST} bytes", path.display())));
    }
    Ok(bytes)
}

/// Reads a bearer token (RFC 6750) from the bytes of `from`.
fn token(bytes: &[u8], from: &str) -> Result<Held, NetworkFailure> {
    let token = std::str::from_utf8(bytes).map(str::trim).unwrap_or_default();
    if !keys::is_field(token) {
        return Err(cannot(format!(
            "{from} gives no valid token: it is empty or has characters that a token can't have"
        )));
    }
    Ok(Held::Token(token.to_owned()))
}

/// A header field's value that debug output hides.
fn field(value: &str) -> Result<HeaderValue, NetworkFailure> {
    let mut value = HeaderValue::from_str(value).map_err(|error| cannot(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A failure that another try won't mend.
fn cannot(why: String) -> NetworkFailure {
    NetworkFailure::Identity { why, is_passing: false }
}

/// The URL at which the credentials provider gives keys for this role alias.
fn credentials_url(endpoint: &str, role_alias: &str) -> Result<String, Failure> {
    let is_host = |endpoint: &str| {
        endpoint.split(':').count() <= 2
            && endpoint.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte))
    };
    let instead = "give the host that `aws iot describe-endpoint --endpoint-type iot:CredentialProvider` answers";
    expect("endpoint", endpoint, is_host, instead)?;
    // <https://docs.aws.amazon.com/iot/latest/apireference/API_CreateRoleAlias.html>
    let is_alias = |alias: &str| {
        alias.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_=,@-".contains(&byte))
    };
    expect("role-alias", role_alias, is_alias, "give the name of the role alias, not its ARN")?;
    Ok(format!("https://{endpoint}/role-aliases/{role_alias}/credentials"))
}

/// <https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html>
fn is_thing(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_-".contains(&byte))
}

fn expect(
    setting: &str,
    value: &str,
    is_right: impl FnOnce(&str) -> bool,
    instead: &str,
) -> Result<(), Failure> {
    if !value.is_empty() && is_right(value) {
        return Ok(());
    }
    Err(Failure::Settings(format!("identity.iot.{setting} is '{value}': {instead}")))
}

/// The region of the API: the one in the settings, else the one in the API's host name
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-publish.html>).
fn region(settings: &Settings) -> Result<String, Failure> {
    let url = settings.metadata("")?;
    let region = settings.region.as_deref().or_else(|| {
        let host = url.split_once("://")?.1.split(['/', '?', ':']).next()?;
        let mut labels = host.split('.').skip_while(|label| *label != "execute-api");
        labels.nth(1)
    });
    match region {
        Some(region)
            if region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !region.is_empty() =>
        {
            Ok(region.to_owned())
        }
        Some(region) => Err(Failure::Settings(format!(
            "region is '{region}': set a region such as eu-central-1"
        ))),
        None => Err(Failure::Settings(format!(
            "signatures need a region, and {} doesn't contain one: set region",
            shown(&settings.metadata_url)
        ))),
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge: a signature says when it was made")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(
        identity: Identity,
        metadata_url: &str,
        region: Option<&str>,
    ) -> Result<Option<Shown>, Failure> {
        let mut settings = Settings::new("m".into());
        settings.identity = identity;
        settings.metadata_url = metadata_url.to_owned();
        settings.region = region.map(str::to_owned);
        Shown::new(&settings, None, Agent::new_with_defaults)
    }

    #[test]
    fn the_region_is_that_of_the_api() {
        for (url, told, region) in [
            ("https://a1.execute-api.eu-central-1.amazonaws.com/metadata/", None, "eu-central-1"),
            (
                "https://a1.execute-api.cn-north-1.amazonaws.com.cn:443/metadata/",
                None,
                "cn-north-1",
            ),
            ("https://a1-vpce-2.execute-api.us-east-1.amazonaws.com", None, "us-east-1"),
            (
                "https://a1.execute-api.eu-central-1.amazonaws.com/metadata/",
                Some("eu-west-1"),
                "eu-west-1",
            ),
            ("https://tuf.example.org/execute-api.eu-west-2.x", Some("eu-west-1"), "eu-west-1"),
        ] {
            let shown = with(Identity::Keys("k".into()), url, told).unwrap().unwrap();
            assert_eq!(shown.region, region, "{url}");
        }
        for (url, told, why) in [
            ("https://tuf.example.org/execute-api.eu-west-2.x", None, "set region"),
            ("https://execute-api", None, "set region"),
            ("https://a1.execute-api.eu-central-1.amazonaws.com", Some(""), "region is ''"),
            (
                "https://a1.execute-api.eu-central-1.amazonaws.com",
                Some("eu central"),
                "region is 'eu central'",
            ),
            ("", Some("eu-central-1"), "set metadata-url"),
        ] {
            let why_not = with(Identity::Keys("k".into()), url, told).unwrap_err().to_string();
            assert!(why_not.contains(why), "{why_not}");
        }
    }

    #[test]
    fn names_that_aws_iot_does_not_allow_are_refused() {
        let iot = |endpoint: &str, role_alias: &str, thing: &str| Identity::Iot {
            endpoint: endpoint.to_owned(),
            role_alias: role_alias.to_owned(),
            thing: Some(thing.to_owned()),
            certificate: "c".into(),
            key: "k".into(),
        };
        let url = "https://a1.execute-api.eu-central-1.amazonaws.com/metadata/";
        for (identity, why) in [
            (
                iot("https://a.credentials.iot.eu-central-1.amazonaws.com", "alias", "t"),
                "identity.iot.endpoint is 'https",
            ),
            (
                iot("a.credentials.iot.eu-central-1.amazonaws.com/x", "alias", "t"),
                "identity.iot.endpoint is 'a.",
            ),
            (iot("user@a", "alias", "t"), "identity.iot.endpoint"),
            (iot("", "alias", "t"), "identity.iot.endpoint is ''"),
            (iot("a", "arn:aws:iot:eu-central-1:1:rolealias/alias", "t"), "not its ARN"),
            (iot("a", "../x", "t"), "identity.iot.role-alias"),
            (iot("a", "alias", "t\r\nx: y"), "identity.iot.thing"),
        ] {
            let why_not = with(identity, url, None).unwrap_err();
            assert!(why_not.to_string().contains(why), "{why_not}");
            assert_eq!(why_not.kind(), "settings");
        }
        let shown = with(
            iot("a.credentials.iot.eu-central-1.amazonaws.com", "Tufline-devices", "gateway_1:a"),
            url,
            None,
        );
        let Source::Iot { url, .. } = shown.unwrap().unwrap().source else { panic!() };
        assert_eq!(
            url,
            "https://a.credentials.iot.eu-central-1.amazonaws.com/role-aliases/Tufline-devices/credentials"
        );
    }
}
