//! From the SDK's errors to one line.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use tufline_store::StoreError;

/// `error` as a [`StoreError`]: the service's code and message where it answered, else what kept it from doing so.
pub(crate) fn failed<E>(action: &'static str, place: impl ToString, error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let why = match (error.as_service_error(), status(error)) {
        (Some(answer), status) => {
            let code = answer.code().unwrap_or("no error code");
            let message = answer.message().map(|message| format!(": {message}")).unwrap_or_default();
            format!("{code} (HTTP {}){message}", status.unwrap_or_default())
        }
        (None, _) => chain(error),
    };
    StoreError::new(action, place, why)
}

/// The HTTP status of the service's answer; `None` where there was none.
pub(crate) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// The service's error code. An answer to HEAD has no body and so none.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// An error and what it came from, as one line: the SDK's outer errors say little alone ("dispatch failure").
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<&(dyn Error + 'static)> = std::iter::successors(Some(error), |error| (*error).source()).collect();
    // Where nobody could sign in, only AWS's own reason for that matters: what is around it is the same each time.
    let sign_in = causes.iter().position(|cause| cause.is::<CredentialsError>());
    // The SDK lists what it tried in lines of their own.
    let line = |causes: &[&(dyn Error + 'static)]| {
        let causes: Vec<String> = causes.iter().map(ToString::to_string).collect();
        causes.join(": ").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    match sign_in {
        Some(at) => format!("{NO_SIGN_IN}: {}", line(&causes[at..])),
        None => line(&causes),
    }
}

/// What a failure says first if no credentials were to be had
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>).
pub const NO_SIGN_IN: &str = "no AWS sign-in works";
