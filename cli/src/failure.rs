//! How the commands print a failure, and what they advise.
//!
//! *Invariant*: the advice and every decision about a failure follow from its kind and from service
//! codes, never from its text.

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;

use aws_config::profile::{ProfileSet, load};
use aws_credential_types::provider::error::CredentialsError;
use aws_runtime::env_config::file::EnvConfigFiles;
use tufline_aws::RequestError;
use tufline_pipeline::StageError;
use tufline_store::{BoxedError, ErrorKind, StoreError};

/// A failure with a kind, for errors whose library states none.
#[derive(Debug, thiserror::Error)]
#[error("{told}")]
pub struct Failure {
    pub kind: ErrorKind,
    told: String,
    source: Option<BoxedError>,
}

impl Failure {
    /// A failure of this kind; `told` describes it in one line.
    pub fn new(kind: ErrorKind, told: String) -> Self {
        Self { kind, told, source: None }
    }

    /// A failure caused by `source`; `told` already contains its text.
    pub fn of(kind: ErrorKind, told: String, source: impl Into<BoxedError>) -> Self {
        Self { source: Some(source.into()), ..Self::new(kind, told) }
    }
}

/// An error with its causes, in one line. It doesn't repeat a cause that the error already quotes,
/// as many libraries' errors do. All commands print errors in this way.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        let cause = cause.split_whitespace().collect::<Vec<_>>().join(" ");
        if !line.contains(&cause) {
            line = if line.is_empty() { cause } else { format!("{line}: {cause}") };
        }
    }
    line
}

/// The kind of a failure, if the error or one of its causes states one.
pub fn kind(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    causes(error).find_map(|cause| {
        let stage =
            cause.downcast_ref::<Arc<StageError>>().map(|error| &**error).or(cause.downcast_ref());
        let store = || Some(cause.downcast_ref::<StoreError>()?.kind);
        let request = || Some(cause.downcast_ref::<RequestError>()?.kind);
        let told = || Some(cause.downcast_ref::<Failure>()?.kind);
        stage.map(StageError::kind).or_else(store).or_else(request).or_else(told)
    })
}

/// Whether access was denied, so that neither waiting nor asking again helps.
pub fn is_denied(error: &anyhow::Error) -> bool {
    kind(&**error) == Some(ErrorKind::Denied)
}

/// The failed AWS request among an error's causes, if there is one.
pub fn request<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a RequestError> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Advice for people about a failure, if there is any.
pub async fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if causes(error).any(<dyn Error>::is::<CredentialsError>) {
        return Some(sign_in().await);
    }
    let request = request(error)?;
    // An uploader's credentials may be too weak where an operator's are not.
    if request.is_refusal() {
        return Some("give an operator's credentials with --admin FILE");
    }
    // AWS's codes, one for each protocol
    // (https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html,
    // https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
    Some(match request.code.as_deref()? {
        "RequestTimeTooSkewed" => "correct this machine's clock",
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            "the sign-in has expired: sign in again"
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" => {
            "AWS doesn't know this access key or its secret: sign in again, or correct them"
        }
        // Most services say only in their message, not by the code, that the clock is the reason.
        "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            "correct this machine's clock if it is wrong; otherwise the secret doesn't belong to \
             the access key: sign in again, or correct it"
        }
        _ => return None,
    })
}

/// What to do if no sign-in works, depending on how the profile signs in
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html>).
async fn sign_in() -> &'static str {
    let profiles = read(&EnvConfigFiles::default()).await;
    match profiles.as_ref().and_then(|profiles| way(profiles, profiles.selected_profile())) {
        Some(Way::SingleSignOn) => "run `aws sso login` for this profile",
        Some(Way::Login) => "run `aws login` for this profile",
        Some(Way::Program) => {
            "run the profile's credential_process by hand to see what is wrong with it"
        }
        None => {
            "sign in with `aws sso login`, `aws login` or `aws configure` and name the profile in \
             AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        }
    }
}

/// The profiles, as the SDK finds them.
#[expect(
    clippy::default_trait_access,
    reason = "the environment and the files of this process: their types have no public name"
)]
async fn read(files: &EnvConfigFiles) -> Option<ProfileSet> {
    load(&Default::default(), &Default::default(), files, None).await.ok()
}

/// How a profile signs in, if a person can renew the sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    SingleSignOn,
    Login,
    Program,
}

/// How the profile `name` signs in, or the source profile of its role. The search ends even if the
/// profiles form a circle.
fn way(profiles: &ProfileSet, name: &str) -> Option<Way> {
    let sources = successors(profiles.get_profile(name), |profile| {
        profiles.get_profile(profile.get("source_profile")?)
    });
    sources.take(profiles.profiles().count()).find_map(|profile| {
        let has = |property: &str| profile.get(property).is_some();
        if has("sso_session") || has("sso_start_url") {
            return Some(Way::SingleSignOn);
        }
        if has("login_session") {
            return Some(Way::Login);
        }
        has("credential_process").then_some(Way::Program)
    })
}

/// An error and its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;
    use aws_runtime::env_config::file::EnvConfigFileKind;

    use super::*;

    #[test]
    fn an_error_is_one_line() {
        let error =
            anyhow::anyhow!("no such\n file").context("open x: no such file").context("reading");
        assert_eq!(one_line(&error), "reading: open x: no such file");
    }

    /// Each part appears once, though each error quotes its cause and also keeps it as its source.
    #[test]
    fn a_cause_that_an_error_quotes_is_printed_once() {
        let request = || {
            RequestError::answered(Some("AccessDenied"), Some("no"), Some(403))
                .of("read", "s3://b/k")
        };
        let told = "a device cannot update: read s3://b/k: AccessDenied (HTTP 403): no";
        let context = "a device cannot update";
        let stage = || StageError::from(request());
        for error in [
            Err::<(), _>(request()).context(context).unwrap_err(),
            Err::<(), _>(stage()).context(context).unwrap_err(),
            Err::<(), _>(StageError::from(Arc::new(stage()))).context(context).unwrap_err(),
            Err::<(), _>(Failure::of(ErrorKind::Denied, request().to_string(), request()))
                .context(context)
                .unwrap_err(),
        ] {
            assert_eq!(one_line(&error), told);
            assert_eq!((kind(&*error), is_denied(&error)), (Some(ErrorKind::Denied), true));
            assert_eq!(self::request(&*error).unwrap().status, Some(403));
        }
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let full = StoreError::from_source(ErrorKind::Retry, "write", "/a", full);
        let error = anyhow::Error::from(StageError::Of("bin-0".into(), Arc::new(full.into())));
        assert_eq!(
            (one_line(&error), kind(&*error)),
            ("bin-0: write /a: no storage space".into(), Some(ErrorKind::Retry))
        );
        assert_eq!(kind(&*anyhow::anyhow!("AccessDenied")), None, "words count for nothing");
    }

    #[tokio::test]
    async fn each_answer_of_aws_has_its_advice_whatever_its_words() {
        for (code, status, expected) in [
            (Some("AccessDenied"), 403, "--admin FILE"),
            (Some("AccessDeniedException"), 400, "--admin FILE"),
            (None, 403, "--admin FILE"),
            (Some("ExpiredToken"), 400, "has expired: sign in again"),
            (Some("ExpiredTokenException"), 400, "has expired: sign in again"),
            (Some("InvalidClientTokenId"), 403, "correct them"),
            (Some("UnrecognizedClientException"), 400, "correct them"),
            (Some("SignatureDoesNotMatch"), 403, "clock"),
            (Some("RequestTimeTooSkewed"), 403, "clock"),
        ] {
            let message = "AccessDenied ExpiredToken InvalidClientTokenId no AWS sign-in works";
            let error = RequestError::answered(code, Some(message), Some(status)).of("read", "it");
            let error = anyhow::Error::from(StageError::from(error)).context("reading");
            let found = advice(&*error).await.unwrap_or_default();
            assert!(found.contains(expected), "{code:?}: {found}");
        }
        for error in [
            anyhow::anyhow!("AccessDenied: ExpiredToken"),
            RequestError::answered(Some("SlowDown"), Some("AccessDenied"), Some(503))
                .of("read", "it")
                .into(),
        ] {
            assert_eq!(advice(&*error).await, None, "{error}");
        }
        let nobody =
            RequestError::unanswered(CredentialsError::not_loaded("nobody")).of("read", "it");
        assert!(advice(&*anyhow::Error::from(nobody).context("reading")).await.is_some());
    }

    #[tokio::test]
    async fn a_profile_signs_in_as_the_one_does_from_which_it_takes_its_role() {
        let text = "
            [default]
            region = eu-central-1
            [profile sso]
            sso_session = company
            [profile old]
            sso_start_url = https://company.awsapps.com/start
            [profile login]
            login_session = arn:aws:iam::111122223333:user/operator
            [profile robot]
            credential_process = /bin/false
            [profile role]
            source_profile = between
            role_arn = arn:aws:iam::111122223333:role/a
            [profile between]
            source_profile = sso
            role_arn = arn:aws:iam::111122223333:role/b
            [profile circle]
            source_profile = circle
            role_arn = arn:aws:iam::111122223333:role/c
        ";
        let text: String = text.lines().map(|line| line.trim_start().to_owned() + "\n").collect();
        let files =
            EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, text).build();
        let profiles = read(&files).await.unwrap();
        for (name, expected) in [
            ("default", None),
            ("sso", Some(Way::SingleSignOn)),
            ("old", Some(Way::SingleSignOn)),
            ("login", Some(Way::Login)),
            ("robot", Some(Way::Program)),
            ("role", Some(Way::SingleSignOn)),
            ("circle", None),
            ("none", None),
        ] {
            assert_eq!(way(&profiles, name), expected, "{name}");
        }
    }
}
