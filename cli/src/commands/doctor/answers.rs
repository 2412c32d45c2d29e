//! AWS's answers, and what a missing answer means for a check.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_sts::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sts::error::BoxError;
use tufline_aws::RequestError;
use tufline_store::ErrorKind;

use super::report::{Code, Finding};

/// The advice for a check that lacks a permission; the page lists the permissions of all checks.
pub const PERMISSIONS: &str =
    "grant it to your sign-in (docs/operations.md#check-a-deployment), or ask somebody who has it";

/// Why AWS gave no answer to a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// The sign-in lacks the permission.
    Denied,
    /// The resource doesn't exist.
    Missing,
    /// The bucket has no such setting.
    Unset,
    /// Any other failure, in one line.
    Failed(String),
}

impl<E> From<SdkError<E, HttpResponse>> for Unanswered
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        Self::from(&RequestError::from(error))
    }
}

impl From<&RequestError> for Unanswered {
    fn from(error: &RequestError) -> Self {
        match (error.code.as_deref(), error.kind) {
            _ if error.is_refusal() => Self::Denied,
            // https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetPublicAccessBlock.html
            (Some("NoSuchPublicAccessBlockConfiguration"), _) => Self::Unset,
            (_, ErrorKind::Missing) => Self::Missing,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl Unanswered {
    /// The finding of a check that got no answer. The check needs `permission`.
    pub fn finding(self, code: Code, what: impl Into<String>, permission: &str) -> Finding {
        match self {
            Self::Denied => Finding::unchecked(
                code,
                what,
                &format!("it needs the permission {permission}"),
                PERMISSIONS,
            ),
            Self::Missing | Self::Unset => Finding::problem(
                code,
                what,
                "it doesn't exist",
                "deploy again (docs/deploy.md#update)",
            ),
            Self::Failed(why) => Finding::unchecked(code, what, &why, "run this again"),
        }
    }
}

/// Keeps the `Date` header of an answer, even of an error.
#[derive(Debug, Clone, Default)]
pub struct DateKeeper(Arc<Mutex<Option<String>>>);

impl DateKeeper {
    /// The header's value, in the form of RFC 9110, section 5.6.7.
    pub fn date(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Intercept for DateKeeper {
    fn name(&self) -> &'static str {
        "DateKeeper"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").map(str::to_owned);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_its_own_codes_for_denied_and_for_missing() {
        // As each service's page of errors lists them.
        for (code, message, status, meant) in [
            (Some("AccessDenied"), "no", 403, Unanswered::Denied),
            (Some("AccessDeniedException"), "", 400, Unanswered::Denied),
            (None, "", 403, Unanswered::Denied),
            (Some("NoSuchPublicAccessBlockConfiguration"), "", 404, Unanswered::Unset),
            (Some("ResourceNotFoundException"), "Function not found", 404, Unanswered::Missing),
            (Some("NoSuchBucket"), "", 404, Unanswered::Missing),
            (Some("NotFoundException"), "no such key", 400, Unanswered::Missing),
            (Some("QueueDoesNotExist"), "", 400, Unanswered::Missing),
            (Some("AWS.SimpleQueueService.NonExistentQueue"), "", 400, Unanswered::Missing),
            (
                Some("ValidationError"),
                "1 error detected",
                400,
                Unanswered::Failed("ValidationError (HTTP 400): 1 error detected".into()),
            ),
            (Some("Throttling"), "", 400, Unanswered::Failed("Throttling (HTTP 400)".into())),
            (None, "", 500, Unanswered::Failed("no error code (HTTP 500)".into())),
        ] {
            let error = RequestError::answered(code, Some(message), Some(status));
            assert_eq!(Unanswered::from(&error), meant, "{code:?} {message}");
        }
    }

    #[test]
    fn a_missing_resource_is_a_problem_and_a_denied_check_is_not() {
        let finding = |why: Unanswered| why.finding(Code::Keys, "the key", "kms:DescribeKey");
        assert_eq!(
            finding(Unanswered::Denied).why,
            "could not be checked: it needs the permission kms:DescribeKey"
        );
        assert_eq!(finding(Unanswered::Missing).state, super::super::report::Severity::Problem);
        assert_eq!(
            finding(Unanswered::Failed("x".into())).state,
            super::super::report::Severity::Unchecked
        );
    }
}
