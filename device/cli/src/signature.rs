//! Signatures of requests to API Gateway (SigV4,
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>).

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use jiff::Timestamp;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use crate::keys::Keys;

/// The service name of API Gateway's data plane in signatures
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-access-control-iam.html>).
const SERVICE: &str = "execute-api";

/// The header fields that sign a GET of `url` made at about `now`.
pub fn fields(url: &str, keys: &Keys, region: &str, now: Timestamp) -> Result<HeaderMap, String> {
    let mut credentials = Credentials::builder()
        .access_key_id(&*keys.id)
        .secret_access_key(&*keys.secret)
        .provider_name("tufline-device");
    credentials.set_session_token(keys.session_token.clone());
    let identity = credentials.build().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(now.into())
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| error.to_string())?;
    let request = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::Bytes(&[]));
    let request = request.map_err(|error| error.to_string())?;
    let (signed, _) =
        sign(request, &parameters.into()).map_err(|error| error.to_string())?.into_parts();
    let (signed, _) = signed.into_parts();
    let mut fields = HeaderMap::new();
    for field in signed {
        let name = HeaderName::try_from(field.name()).map_err(|error| error.to_string())?;
        let mut value = HeaderValue::try_from(field.value()).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        fields.insert(name, value);
    }
    Ok(fields)
}
