//! Canned answers from AWS's documentation, for tests in which the emulator answers differently or
//! never would.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::Credentials;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;

/// Answers requests with the given answers, in order, and records the requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Canned {
    answers: Arc<Mutex<VecDeque<HttpResponse>>>,
    requests: Arc<Mutex<Vec<CannedRequest>>>,
}

/// A request that was made.
#[derive(Debug, Clone)]
pub(crate) struct CannedRequest {
    pub(crate) method: String,
    pub(crate) uri: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl CannedRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

impl Canned {
    /// An answer with these headers.
    pub(crate) fn answer(
        self,
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: impl Into<String>,
    ) -> Self {
        let body: String = body.into();
        let mut answer = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        for (name, value) in headers {
            answer.headers_mut().insert(*name, *value);
        }
        self.answers.lock().unwrap().push_back(answer);
        self
    }

    /// An error in S3's format.
    pub(crate) fn s3_error(self, status: u16, code: &str) -> Self {
        self.answer(
            status,
            &[],
            format!("<Error><Code>{code}</Code><Message>why</Message></Error>"),
        )
    }

    /// A configuration for the client of any service, which then gets these answers.
    pub(crate) fn config(&self) -> aws_config::SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        aws_config::SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(aws_sdk_s3::config::SharedCredentialsProvider::new(
                Credentials::new("id", "secret", None, None, "test"),
            ))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build()
    }

    /// A client of S3 that gets these answers.
    pub(crate) fn s3(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::new(&self.config())
    }

    /// The recorded requests. Panics if answers are left over.
    pub(crate) fn requests(&self) -> Vec<CannedRequest> {
        assert!(self.answers.lock().unwrap().is_empty(), "fewer requests than expected");
        self.requests.lock().unwrap().clone()
    }
}

impl HttpConnector for Canned {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let headers = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        self.requests.lock().unwrap().push(CannedRequest {
            method: request.method().to_owned(),
            uri: request.uri().to_owned(),
            headers,
            body: String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned(),
        });
        let answer = self.answers.lock().unwrap().pop_front();
        HttpConnectorFuture::ready(Ok(answer.expect("more requests than expected")))
    }
}
