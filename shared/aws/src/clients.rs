//! The connection to AWS: region, credentials, endpoint, time-outs and retries, decided once for all services.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider, StalledStreamProtectionConfig};

/// AWS's endpoints and the emulator are near: one that takes a second to accept is not going to.
const CONNECT: Duration = Duration::from_secs(1);

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// In one try.
    attempt: Duration,
    /// In all tries of a request together.
    operation: Duration,
}

impl Patience {
    /// For a device that waits itself: at most nine seconds, so that serve still answers before it is stopped after ten.
    pub const DEVICE: Self = Self { attempt: Duration::from_secs(2), operation: Duration::from_secs(9) };

    fn timeouts(self) -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(self.attempt)
            .operation_timeout(self.operation)
            .build()
    }
}

/// Every request but a copy moves a few kilobytes, or some megabytes from S3, and is answered within milliseconds: after
/// five seconds another try is likelier to succeed than more patience. Sign and publish shall report a failure before Lambda
/// ends them.
impl Default for Patience {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(5), operation: Duration::from_secs(20) }
    }
}

/// The first try and three more, with exponential back-off and jitter. S3 asks for that on 503 "Slow Down"
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html>). A repeated
/// conditional write may meet its own earlier success: that reads as `Written::Lost`, which every caller handles.
const ATTEMPTS: u32 = 4;

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS)
}

/// KMS has a quota of signatures a second, which a whole account shares: a request that is throttled is tried more often than
/// others, with pauses that double. Not by the client's adaptive mode, which after a few of them would let through one
/// request in two seconds (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>).
const SIGNING_ATTEMPTS: u32 = 8;

/// The first of the pauses between these, at most. Each is twice the one before.
const SIGNING_PAUSE: Duration = Duration::from_millis(100);

/// A client of KMS that keeps to the quota.
pub(crate) fn kms(config: &SdkConfig) -> aws_sdk_kms::Client {
    let retries = RetryConfig::standard().with_max_attempts(SIGNING_ATTEMPTS).with_initial_backoff(SIGNING_PAUSE);
    aws_sdk_kms::Client::from_conf(aws_sdk_kms::config::Builder::from(config).retry_config(retries).build())
}

/// A server-side copy of 5 GB is one request, and S3 answers only when it is done.
const COPY_ATTEMPT: Duration = Duration::from_mins(5);

/// Where AWS is and who asks. What is `None` comes from the environment as every AWS tool reads it: `AWS_REGION`,
/// `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, profiles, the function's role, …
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>).
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// For example `eu-central-1`.
    pub region: Option<String>,
    /// The URL of something that speaks AWS's protocols, instead of AWS.
    pub endpoint: Option<String>,
    /// Whose access key to use.
    pub key: Option<AccessKey>,
    /// How long an answer is waited for.
    pub patience: Patience,
}

/// An access key (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html>).
#[derive(Clone)]
pub struct AccessKey {
    /// `AWS_ACCESS_KEY_ID`.
    pub id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: String,
    /// `AWS_SESSION_TOKEN`, for temporary keys.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// No region was given and the environment has none either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("AWS region unknown: set AWS_REGION")]
pub struct NoRegion;

/// A client for each service that Tufline uses. Cheap to clone: clones share their connections.
#[derive(Debug, Clone)]
pub struct Clients {
    /// S3, with bucket names in the path where the endpoint isn't AWS's own: an emulator has one host name.
    pub s3: aws_sdk_s3::Client,
    /// What they were made of.
    pub(crate) config: SdkConfig,
}

impl Clients {
    /// The clients for `access`. Sends nothing to the services; wrong credentials show at the first request.
    pub async fn new(access: Access) -> Result<Self, NoRegion> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(retries())
            .timeout_config(access.patience.timeouts());
        if let Some(region) = access.region {
            loader = loader.region(Region::new(region));
        }
        if let Some(endpoint) = access.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(AccessKey { id, secret, session_token }) = access.key {
            loader = loader.credentials_provider(Credentials::new(id, secret, session_token, None, "given"));
        }
        let config = loader.load().await;
        // A variable that is empty says nothing.
        if config.region().is_none_or(|region| region.as_ref().is_empty()) {
            return Err(NoRegion);
        }
        Ok(Self::of(config))
    }

    /// The clients of a Lambda function. It has its region and its role's credentials in its environment
    /// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>), which `variable` reads, and looks in
    /// none of the other places where people have theirs.
    ///
    /// # Errors
    /// [`NoRegion`].
    pub fn of_function(variable: impl Fn(&str) -> Option<String>, patience: Patience) -> Result<Self, NoRegion> {
        let credentials = aws_config::environment::EnvironmentVariableCredentialsProvider::new();
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(variable("AWS_REGION").ok_or(NoRegion)?))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(retries())
            .timeout_config(patience.timeouts());
        config.set_endpoint_url(variable("AWS_ENDPOINT_URL"));
        Ok(Self::of(config.build()))
    }

    fn of(config: SdkConfig) -> Self {
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(config.endpoint_url().is_some()).build();
        Self { s3: aws_sdk_s3::Client::from_conf(s3), config }
    }

    /// A client of SQS, made anew. A program that needs none has no code of it.
    #[must_use]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    /// A client of KMS, made anew.
    #[must_use]
    pub fn kms(&self) -> aws_sdk_kms::Client {
        kms(&self.config)
    }

    /// A client of EventBridge, made anew.
    #[must_use]
    pub fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        aws_sdk_eventbridge::Client::new(&self.config)
    }

    /// What a client of another service is made of, for the same region, credentials, endpoint and patience.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// S3 as devices reach it: over IPv6 too, as the API that sends them there
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/dual-stack-endpoints.html>). An endpoint that was given has one name only.
    pub(crate) fn s3_of_devices(&self) -> aws_sdk_s3::Client {
        if self.config.endpoint_url().is_some() {
            return self.s3.clone();
        }
        aws_sdk_s3::Client::from_conf(self.s3.config().to_builder().use_dual_stack(true).build())
    }
}

/// What a request for a server-side copy, or for putting one together, needs in place of the usual time-outs.
///
/// S3 may answer 200 at once and then nothing but a space now and then, until it is done
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>,
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>). The SDK would take that for a stalled stream after 20
/// seconds (<https://docs.aws.amazon.com/sdk-for-rust/latest/dg/timeouts.html>). The time-outs hold for it too.
pub(crate) fn copy_patience() -> aws_sdk_s3::config::Builder {
    let timeouts =
        TimeoutConfig::builder().operation_attempt_timeout(COPY_ATTEMPT).operation_timeout(2 * COPY_ATTEMPT).build();
    aws_sdk_s3::Config::builder()
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use tufline_store::{Blobs, Kept, Key, Links, Source, Store, Upload, VersionId};
    use tufline_tuf::Sha256;

    use crate::{CopyLimits, S3Blobs, S3Links};

    async fn clients(endpoint: Option<String>) -> Clients {
        let key = AccessKey { id: "id".into(), secret: "hidden".into(), session_token: None };
        assert!(!format!("{key:?}").contains("hidden"));
        let region = Some("eu-central-1".into());
        Clients::new(Access { region, endpoint, key: Some(key), patience: Patience::DEVICE }).await.unwrap()
    }

    #[tokio::test]
    async fn devices_are_sent_where_they_come_over_ipv6_too_but_to_no_other_endpoint() {
        let link = async |endpoint| {
            let links = S3Links::new(clients(endpoint).await.s3_of_devices(), "bucket".into());
            links.link(&Key::Blob(Sha256::of(b"a"))).await.unwrap()
        };
        let aws = link(None).await;
        assert!(aws.starts_with("https://bucket.s3.dualstack.eu-central-1.amazonaws.com/blobs/"), "{aws}");
        let other = link(Some("http://127.0.0.1:1".into())).await;
        assert!(other.starts_with("http://127.0.0.1:1/bucket/blobs/"), "{other}");
    }

    /// Answers as S3 does while it copies: the head at once, then nothing for a while, then the rest.
    fn slow_s3() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut request = Vec::new();
                    let mut buffer = [0; 4096];
                    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                        let read = stream.read(&mut buffer).unwrap();
                        if read == 0 {
                            return;
                        }
                        request.extend_from_slice(&buffer[..read]);
                    }
                    let request = String::from_utf8_lossy(&request).into_owned();
                    let key = format!("blobs/{}", Sha256::of(b"bytes"));
                    let (method, path) = request.split_once(' ').unwrap();
                    let (slow, result, body) = match method {
                        "HEAD" => (false, "", String::new()),
                        "GET" if path.contains("uploads") => {
                            let upload = format!("<Upload><Key>{key}</Key><UploadId>1</UploadId></Upload>");
                            (false, "ListMultipartUploadsResult", upload)
                        }
                        "GET" if path.contains("uploadId") => (false, "ListPartsResult", String::new()),
                        "POST" => (true, "CompleteMultipartUploadResult", "<ETag>e</ETag>".into()),
                        "PUT" if path.contains("partNumber") => (true, "CopyPartResult", "<ETag>e</ETag>".into()),
                        "PUT" => (true, "CopyObjectResult", "<ETag>e</ETag>".into()),
                        _ => (true, "", String::new()),
                    };
                    let status = if method == "HEAD" { "404 Not Found" } else { "200 OK" };
                    let body = if result.is_empty() { "bytes".into() } else { format!("<{result}>{body}</{result}>") };
                    let length = if method == "HEAD" { 0 } else { body.len() };
                    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                    stream.write_all(head.as_bytes()).unwrap();
                    if slow {
                        std::thread::sleep(Duration::from_secs(2));
                    }
                    // Whoever gave up isn't there any more.
                    let _ = stream.write_all(body.as_bytes());
                });
            }
        });
        endpoint
    }

    #[tokio::test]
    async fn a_copy_that_takes_long_is_waited_for() {
        let s3 = clients(Some(slow_s3())).await.s3;
        let impatient = StalledStreamProtectionConfig::enabled().grace_period(Duration::from_millis(100)).build();
        let s3 = aws_sdk_s3::Client::from_conf(s3.config().to_builder().stalled_stream_protection(impatient).build());
        let version = Some(VersionId("v1".into()));
        let upload =
            Upload { name: "a".into(), version, length: 5, custom: None, sha256: None, uploaded: None, unusable: None };
        let blobs = |whole| {
            let limits = CopyLimits { whole, part: 5 };
            S3Blobs::new(s3.clone(), "uploads".into(), "targets/".into(), "repository".into(), limits)
        };
        // In one request, and in parts that are put together.
        let digest = Sha256::of(b"bytes");
        let (whole, parts) = (blobs(5), blobs(4));
        let (one, kept, put_together, read) = futures::join!(
            whole.copy_in(&upload),
            whole.keep(&upload, Source::Upload, &digest),
            parts.keep(&upload, Source::Upload, &digest),
            whole.read(&digest, 0, 5)
        );
        assert_eq!(one.unwrap(), None);
        assert_eq!((kept.unwrap(), put_together.unwrap()), (Kept::Whole, Kept::Whole));
        let stalled = read.unwrap_err().to_string();
        assert!(stalled.contains("throughput"), "what is no copy is not waited for: {stalled}");
    }

    #[tokio::test]
    async fn an_endpoint_that_is_not_there_is_told_in_one_line() {
        let clients = clients(Some("http://127.0.0.1:1".into())).await;
        let store = crate::S3Store::new(clients.s3, "repository".into(), "ledger".into());
        let failure = store.get(&Key::Announced).await.unwrap_err().to_string();
        assert!(failure.starts_with("read s3://ledger/announced.json: "), "{failure}");
        assert!(failure.contains("Connection refused") && !failure.contains('\n'), "{failure}");
    }
}
