//! Turns the SDK's errors into a kind and one line of text.

use std::error::Error;
use std::fmt;
use std::iter::successors;

use aws_credential_types::provider::error::CredentialsError;
use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use tufline_store::{BoxedError, ErrorKind, StoreError};

/// Why a request to AWS failed: the service's code and message if it answered, otherwise why it
/// could not answer.
///
/// Like that of [`StoreError`], its text contains the text of all its sources.
#[derive(Debug)]
pub struct RequestError {
    /// The kind of failure, which tells callers what they may do about it.
    pub kind: ErrorKind,
    /// The service's error code (`AccessDenied`). An answer to HEAD has no body, and so no code.
    pub code: Option<String>,
    /// The HTTP status of the service's answer.
    pub status: Option<u16>,
    why: String,
    /// The SDK's error; `None` if the service answered, since that error says nothing more.
    cause: Option<BoxedError>,
}

impl RequestError {
    /// The error that a service answered, with its code, message and HTTP status.
    pub fn answered(code: Option<&str>, message: Option<&str>, status: Option<u16>) -> Self {
        let told = code.unwrap_or("no error code");
        let message =
            message.map(|message| message.replace('\n', " ")).filter(|message| !message.is_empty());
        let message = message.map(|message| format!(": {message}")).unwrap_or_default();
        let status_told = status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
        Self {
            kind: kind_of_answer(code, status),
            code: code.map(str::to_owned),
            status,
            why: format!("{told}{status_told}{message}"),
            cause: None,
        }
    }

    /// An answer that can't be used, described by `why`.
    pub(crate) fn told(kind: ErrorKind, why: String) -> Self {
        Self { kind, code: None, status: None, why, cause: None }
    }

    /// A request that no service answered, or whose answer broke off.
    pub fn unanswered(cause: impl Into<BoxedError>) -> Self {
        let cause = cause.into();
        Self {
            kind: kind_of_cause(&*cause),
            code: None,
            status: None,
            why: chain(&*cause),
            cause: Some(cause),
        }
    }

    /// Whether a service knows the caller, and denied access.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self.code.as_deref() {
            Some(code) => ACCESS_DENIED.contains(&code),
            None => self.status == Some(403),
        }
    }

    /// The error as a port reports it: `action` failed at `place`.
    #[must_use]
    pub fn of(self, action: &'static str, place: impl ToString) -> StoreError {
        let code = self.code.clone();
        StoreError { code, ..StoreError::from_source(self.kind, action, place, self) }
    }
}

impl<E> From<SdkError<E, HttpResponse>> for RequestError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        match error.as_service_error() {
            Some(answer) => Self::answered(answer.code(), answer.message(), status(&error)),
            // The request's parameters are wrong, unless it could not be signed.
            None if matches!(error, SdkError::ConstructionFailure(_))
                && sign_in(&error).is_none() =>
            {
                Self { kind: ErrorKind::Invalid, ..Self::unanswered(error) }
            }
            None => Self::unanswered(error),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.why)
    }
}

impl Error for RequestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause: &(dyn Error + 'static) = &**self.cause.as_ref()?;
        Some(sign_in(cause).unwrap_or(cause))
    }
}

/// `error` as a [`StoreError`].
pub(crate) fn failed<E>(
    action: &'static str,
    place: impl ToString,
    error: SdkError<E, HttpResponse>,
) -> StoreError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    RequestError::from(error).of(action, place)
}

/// The HTTP status of the service's answer; `None` without an answer.
pub(crate) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// The service's error code. An answer to HEAD has no body, and so no code.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// The error codes of [`ErrorKind::Denied`]: the caller lacks a permission, the caller isn't known,
/// or the KMS key may not be used. From the tables of codes in
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>,
/// <https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html>,
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html>,
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>,
/// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html> and
/// <https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>. An answer of 401 or 403
/// with any other code is of this kind too.
const DENIED: [&str; 32] = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "DisabledException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "InvalidSignatureException",
    "InvalidToken",
    "KMS.AccessDeniedException",
    "KMS.DisabledException",
    "KMS.InvalidStateException",
    "KMS.OptInRequired",
    "KMSInvalidStateException",
    "KmsAccessDenied",
    "KmsDisabled",
    "KmsInvalidState",
    "KmsOptInRequired",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "NotAuthorizedForDetailTypeException",
    "NotAuthorizedForSourceException",
    "OptInRequired",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];

/// Those of the codes that mean: the caller is known, but lacks a permission.
const ACCESS_DENIED: [&str; 4] =
    ["AccessDenied", "AccessDeniedException", "KMS.AccessDeniedException", "KmsAccessDenied"];

/// The error codes of [`ErrorKind::Missing`], from the same tables.
const MISSING: [&str; 10] = [
    "AWS.SimpleQueueService.NonExistentQueue",
    "KMS.NotFoundException",
    "KmsNotFound",
    "NoSuchBucket",
    "NoSuchKey",
    "NoSuchUpload",
    "NotFoundException",
    "ParameterNotFound",
    "QueueDoesNotExist",
    "ResourceNotFoundException",
];

/// The error codes of [`ErrorKind::Retry`], from the same tables, besides those that the SDK itself
/// retries.
const RETRY: [&str; 4] =
    ["InternalFailure", "KMS.ThrottlingException", "KmsThrottled", "OverLimit"];

/// The kind of a service's error. The code says more than the status, which is mostly 400 in KMS
/// and SQS.
fn kind_of_answer(code: Option<&str>, status: Option<u16>) -> ErrorKind {
    let is = |codes: &[&str]| code.is_some_and(|code| codes.contains(&code));
    // SQS throttles with status 403, and S3 asks for a retry with 400.
    if is(THROTTLING_ERRORS) || is(TRANSIENT_ERRORS) || is(&RETRY) {
        return ErrorKind::Retry;
    }
    if is(&DENIED) {
        return ErrorKind::Denied;
    }
    if is(&MISSING) {
        return ErrorKind::Missing;
    }
    match status {
        Some(401 | 403) => ErrorKind::Denied,
        Some(404 | 410) => ErrorKind::Missing,
        Some(409 | 412) => ErrorKind::Conflict,
        // S3 answers some requests with 200 before it has finished them, and reports the failure
        // after that.
        Some(..300 | 408 | 429 | 500..) => ErrorKind::Retry,
        // Without a status it is one entry of a batch answer. All codes of such entries that a
        // retry mends are listed above.
        None | Some(_) => ErrorKind::Invalid,
    }
}

/// The kind of a failure without an answer: the sign-in failed, or the service could not be
/// reached.
fn kind_of_cause(cause: &(dyn Error + 'static)) -> ErrorKind {
    let Some(at) = sign_in(cause) else { return ErrorKind::Retry };
    let sign_in_may_work = match at.downcast_ref() {
        Some(CredentialsError::ProviderTimedOut(_)) => true,
        // The service that hands out credentials may itself be unreachable.
        Some(CredentialsError::ProviderError(_) | CredentialsError::Unhandled(_)) => {
            causes(at).any(<dyn Error>::is::<ConnectorError>)
        }
        _ => false,
    };
    if sign_in_may_work { ErrorKind::Retry } else { ErrorKind::Denied }
}

/// The failed sign-in among an error's causes, if there is one.
fn sign_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    causes(error).find(|cause| cause.is::<CredentialsError>())
}

/// An error and its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error| (*error).source())
}

/// An error and its causes, as one line: the SDK's outer errors alone say little ("dispatch
/// failure").
fn chain(error: &(dyn Error + 'static)) -> String {
    // The SDK's text may have several lines.
    let line = |error| {
        let causes: Vec<String> = causes(error).map(ToString::to_string).collect();
        causes.join(": ").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    // Of a failed sign-in only its own reason matters: the errors around it are always the same.
    match sign_in(error) {
        Some(at) => format!("{NO_SIGN_IN}: {}", line(at)),
        None => line(error),
    }
}

/// The beginning of the text if no credentials could be obtained
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>).
const NO_SIGN_IN: &str = "no AWS sign-in works";

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::{ProvideCredentials, future};
    use aws_smithy_runtime_api::client::result::ConnectorError as Connector;

    use crate::canned::Canned;

    /// The error of a GET that S3 answers as `canned` says.
    async fn s3(canned: Canned) -> StoreError {
        let request = canned.s3().get_object().bucket("bucket").key("key");
        let error = request.send().await.unwrap_err();
        failed("read", "s3://bucket/key", error)
    }

    /// The codes and statuses come from the cited pages.
    #[test]
    fn each_documented_code_has_its_kind() {
        use ErrorKind::{Conflict, Denied, Invalid, Missing, Retry};
        for (code, status, kind) in [
            // https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
            ("AccessDenied", 403, Denied),
            ("AccountProblem", 403, Denied),
            ("AllAccessDisabled", 403, Denied),
            ("BadDigest", 400, Invalid),
            ("ConditionalRequestConflict", 409, Conflict),
            ("EntityTooLarge", 400, Invalid),
            ("ExpiredToken", 400, Denied),
            ("InternalError", 500, Retry),
            ("InvalidAccessKeyId", 403, Denied),
            ("InvalidArgument", 400, Invalid),
            ("InvalidObjectState", 403, Denied),
            ("InvalidToken", 400, Denied),
            ("MethodNotAllowed", 405, Invalid),
            ("NoSuchBucket", 404, Missing),
            ("NoSuchKey", 404, Missing),
            ("NoSuchUpload", 404, Missing),
            ("NoSuchVersion", 404, Missing),
            ("OperationAborted", 409, Conflict),
            ("PermanentRedirect", 301, Invalid),
            ("PreconditionFailed", 412, Conflict),
            ("RequestTimeTooSkewed", 403, Denied),
            ("RequestTimeout", 400, Retry),
            ("ServiceUnavailable", 503, Retry),
            ("SignatureDoesNotMatch", 403, Denied),
            ("SlowDown", 503, Retry),
            ("TokenRefreshRequired", 400, Denied),
            // https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
            ("DependencyTimeoutException", 503, Retry),
            ("DisabledException", 409, Denied),
            ("DisabledException", 400, Denied),
            ("InvalidKeyUsageException", 400, Invalid),
            ("KeyUnavailableException", 500, Retry),
            ("KMSInternalException", 500, Retry),
            ("KMSInvalidStateException", 409, Denied),
            ("KMSInvalidStateException", 400, Denied),
            ("NotFoundException", 404, Missing),
            ("NotFoundException", 400, Missing),
            // https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html, and the same
            // of SQS, EventBridge and STS
            ("AccessDeniedException", 400, Denied),
            ("AccessDeniedException", 403, Denied),
            ("ExpiredTokenException", 400, Denied),
            ("ExpiredTokenException", 403, Denied),
            ("IncompleteSignature", 400, Denied),
            ("InternalFailure", 500, Retry),
            ("InvalidClientTokenId", 403, Denied),
            ("NotAuthorized", 400, Denied),
            ("OptInRequired", 403, Denied),
            ("RequestExpired", 400, Denied),
            ("RequestTimeoutException", 408, Retry),
            ("ThrottlingException", 400, Retry),
            ("UnrecognizedClientException", 403, Denied),
            ("UnknownOperationException", 404, Missing),
            ("ValidationError", 400, Invalid),
            // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html,
            // in the codes of both protocols
            ("AWS.SimpleQueueService.NonExistentQueue", 400, Missing),
            ("AWS.SimpleQueueService.UnsupportedOperation", 400, Invalid),
            ("InvalidAddress", 404, Missing),
            ("InvalidMessageContents", 400, Invalid),
            ("InvalidSecurity", 403, Denied),
            ("KMS.AccessDeniedException", 400, Denied),
            ("KMS.DisabledException", 400, Denied),
            ("KMS.InvalidKeyUsageException", 400, Invalid),
            ("KMS.InvalidStateException", 400, Denied),
            ("KMS.NotFoundException", 400, Missing),
            ("KMS.ThrottlingException", 400, Retry),
            ("KmsAccessDenied", 400, Denied),
            ("KmsThrottled", 400, Retry),
            ("OverLimit", 403, Retry),
            ("QueueDoesNotExist", 400, Missing),
            ("RequestThrottled", 403, Retry),
            // https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
            ("ParameterNotFound", 400, Missing),
        ] {
            let error =
                RequestError::answered(Some(code), Some("why"), Some(status)).of("ask", "it");
            assert_eq!(error.kind, kind, "{code} {status}");
            assert_eq!(error.code.as_deref(), Some(code));
            assert_eq!(error.to_string(), format!("ask it: {code} (HTTP {status}): why"));
        }
        // An answer to HEAD has only a status.
        for (status, kind) in [
            (400, Invalid),
            (401, Denied),
            (403, Denied),
            (404, Missing),
            (409, Conflict),
            (412, Conflict),
            (503, Retry),
        ] {
            let error = RequestError::answered(None, None, Some(status)).of("ask", "it");
            assert_eq!((error.kind, error.code.as_deref()), (kind, None), "{status}");
            assert_eq!(error.to_string(), format!("ask it: no error code (HTTP {status})"));
        }
    }

    #[tokio::test]
    async fn what_a_service_answers_is_one_line_with_its_code_and_its_kind() {
        let body = "<Error><Code>AccessDenied</Code><Message>you\nmay not</Message></Error>";
        let error = s3(Canned::default().answer(403, &[], body)).await;
        assert_eq!(error.to_string(), "read s3://bucket/key: AccessDenied (HTTP 403): you may not");
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Denied, Some("AccessDenied")));
        let cause = error.source().unwrap().downcast_ref::<RequestError>().unwrap();
        assert_eq!((cause.status, cause.code.as_deref()), (Some(403), Some("AccessDenied")));
        // S3 answers 200, and then an error if the copy fails on the way.
        let body = "<Error><Code>InternalError</Code><Message>why</Message></Error>";
        for (code, kind) in
            [("InternalError", ErrorKind::Retry), ("AccessDenied", ErrorKind::Denied)]
        {
            let canned = (0..3).fold(Canned::default(), |canned, _| {
                canned.answer(200, &[], body.replace("InternalError", code))
            });
            let copy =
                canned.s3().copy_object().bucket("bucket").key("key").copy_source("bucket/other");
            let error = failed("copy", "it", copy.send().await.unwrap_err());
            assert_eq!((error.kind, error.code.as_deref()), (kind, Some(code)));
        }
    }

    #[derive(Debug)]
    struct Nobody(fn() -> CredentialsError);

    impl ProvideCredentials for Nobody {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err::<Credentials, _>((self.0)()))
        }
    }

    /// The error's text has each part once, and its sources end at the root cause.
    #[tokio::test]
    async fn a_failed_sign_in_is_denied_unless_the_credentials_service_is_unreachable() {
        let unreachable = || {
            let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            CredentialsError::provider_error(Connector::io(refused.into()))
        };
        for (why, kind, root) in [
            (
                (|| CredentialsError::not_loaded("nobody is signed in")) as fn() -> _,
                ErrorKind::Denied,
                "nobody is signed in",
            ),
            (|| CredentialsError::invalid_configuration("a circle"), ErrorKind::Denied, "a circle"),
            (
                || CredentialsError::provider_error("the session\nhas expired"),
                ErrorKind::Denied,
                "the session has expired",
            ),
            (
                || CredentialsError::provider_timed_out(std::time::Duration::from_secs(5)),
                ErrorKind::Retry,
                "5 seconds",
            ),
            (unreachable, ErrorKind::Retry, "connection refused"),
        ] {
            let config = Canned::default().config();
            let config = aws_sdk_s3::config::Builder::from(&config)
                .credentials_provider(Nobody(why))
                .build();
            let request =
                aws_sdk_s3::Client::from_conf(config).get_object().bucket("bucket").key("key");
            let error = failed("read", "it", request.send().await.unwrap_err());
            let text = error.to_string();
            assert!(
                text.starts_with("read it: no AWS sign-in works: ") && text.contains(root),
                "{text}"
            );
            assert!(!text.contains('\n') && text.matches(root).count() == 1, "{text}");
            assert_eq!(error.kind, kind, "{text}");
            let told: Vec<String> =
                causes(&error).map(|cause| cause.to_string().replace('\n', " ")).collect();
            assert!(told.iter().all(|cause| text.contains(cause)), "{text}: {told:?}");
            assert!(causes(&error).any(<dyn Error>::is::<CredentialsError>));
            assert_eq!(
                causes(&error).any(<dyn Error>::is::<std::io::Error>),
                text.contains("refused"),
                "{text}"
            );
        }
    }
}
