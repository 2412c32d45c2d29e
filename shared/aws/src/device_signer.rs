//! Signs a device's requests to an HTTP API with IAM authorization.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_config::Region;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use tufline_store::BoxedError;

use crate::Clients;
use crate::failure::RequestError;

/// The service name of API Gateway's data plane in signatures.
const SERVICE: &str = "execute-api";

/// Signs requests for an API Gateway with IAM authorization
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-access-control-iam.html>).
#[derive(Debug, Clone)]
pub struct DeviceSigner {
    credentials: SharedCredentialsProvider,
    region: Region,
}

/// Why a request could not be signed. Clones share the error.
#[derive(Debug, Clone)]
pub struct NotSigned(Arc<RequestError>);

impl fmt::Display for NotSigned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the request can't be signed: {}", self.0)
    }
}

impl Error for NotSigned {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

impl Clients {
    /// A signer with the credentials and the region of these clients; `None` if they lack one of
    /// both.
    #[must_use]
    pub fn device_signer(&self) -> Option<DeviceSigner> {
        Some(DeviceSigner {
            credentials: self.config.credentials_provider()?,
            region: self.config.region()?.clone(),
        })
    }
}

impl DeviceSigner {
    /// The header fields that authorize a GET of `url`, sent at about `now`
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>).
    ///
    /// # Errors
    /// If no credentials are available, or the URL can't be signed.
    pub async fn sign(
        &self,
        url: &str,
        now: SystemTime,
    ) -> Result<Vec<(String, String)>, NotSigned> {
        let not_signed = |error: BoxedError| NotSigned(Arc::new(RequestError::unanswered(error)));
        let credentials = self
            .credentials
            .provide_credentials()
            .await
            .map_err(|error| not_signed(error.into()))?;
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region.as_ref())
            .name(SERVICE)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| not_signed(error.into()))?;
        let request =
            SignableRequest::new("GET", url, std::iter::empty(), SignableBody::Bytes(&[]));
        let request = request.map_err(|error| not_signed(error.into()))?;
        let (signed, _) = sign(request, &parameters.into())
            .map_err(|error| not_signed(error.into()))?
            .into_parts();
        let (headers, _) = signed.into_parts();
        Ok(headers
            .into_iter()
            .map(|header| (header.name().to_owned(), header.value().to_owned()))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, AccessKey};

    #[tokio::test]
    async fn a_request_is_signed_for_api_gateway_and_not_with_the_secret_itself() {
        let key = AccessKey {
            id: "AKID".into(),
            secret: "hidden".into(),
            session_token: Some("session".into()),
        };
        let access =
            Access { region: Some("eu-central-1".into()), key: Some(key), ..Access::default() };
        let signer = Clients::new(access).await.unwrap().device_signer().unwrap();
        let headers = signer
            .sign("https://api/metadata/timestamp.json", SystemTime::UNIX_EPOCH)
            .await
            .unwrap();
        let header = |name: &str| {
            headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
        };
        let authorization = header("authorization").unwrap();
        assert!(
            authorization.contains("AKID/19700101/eu-central-1/execute-api/aws4_request"),
            "{authorization}"
        );
        assert_eq!(
            (header("x-amz-date"), header("x-amz-security-token")),
            (Some("19700101T000000Z"), Some("session"))
        );
        assert!(!format!("{headers:?}").contains("hidden"));
        assert!(signer.sign("no url", SystemTime::UNIX_EPOCH).await.is_err());
    }
}
