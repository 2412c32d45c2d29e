//! The connection to AWS: region, credentials, endpoint, timeouts and retries, decided once for all
//! services.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider, StalledStreamProtectionConfig};

/// The longest wait for a connection. AWS's endpoints and the emulator are near: one that has not
/// accepted within a second won't accept at all.
const CONNECT: Duration = Duration::from_secs(1);

/// How long to wait for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The limit of one attempt.
    attempt: Duration,
    /// The limit of all attempts of a request together.
    operation: Duration,
}

impl Patience {
    /// For requests while a device waits: at most nine seconds, so that the function serve answers
    /// before Lambda stops it after ten.
    pub const DEVICE: Self =
        Self { attempt: Duration::from_secs(2), operation: Duration::from_secs(9) };

    fn timeouts(self) -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(self.attempt)
            .operation_timeout(self.operation)
            .build()
    }
}

/// Every request but a copy moves a few kilobytes, or some megabytes from S3, and is answered
/// within milliseconds. After five seconds another attempt is more likely to succeed than more
/// patience. In total, sign and publish must report a failure before Lambda stops them.
impl Default for Patience {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(5), operation: Duration::from_secs(20) }
    }
}

/// The number of attempts, the first included, with exponential backoff and jitter. S3 asks for
/// this on 503 "Slow Down"
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html>).
/// A repeated conditional write may meet its own earlier success: it then returns `Written::Lost`,
/// which every caller handles.
const ATTEMPTS: u32 = 4;

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS)
}

/// The number of attempts of a request to KMS. A whole account shares KMS's quota of signatures a
/// second, so a throttled request is retried more often than others, with pauses that double. The
/// client's adaptive mode would not do: after a few throttled requests it lets through only one
/// request in two seconds
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>).
const SIGNING_ATTEMPTS: u32 = 8;

/// The longest first pause between these attempts. Each later pause is twice as long.
const SIGNING_PAUSE: Duration = Duration::from_millis(100);

/// A client of KMS that copes with throttling.
pub(crate) fn kms(config: &SdkConfig) -> aws_sdk_kms::Client {
    let retries = RetryConfig::standard()
        .with_max_attempts(SIGNING_ATTEMPTS)
        .with_initial_backoff(SIGNING_PAUSE);
    aws_sdk_kms::Client::from_conf(
        aws_sdk_kms::config::Builder::from(config).retry_config(retries).build(),
    )
}

/// The limit of one attempt of a server-side copy: up to 5 GB are one request, which S3 answers
/// only when it is done.
const COPY_ATTEMPT: Duration = Duration::from_mins(5);

/// The region, the endpoint and the credentials. A field that is `None` comes from the environment,
/// as for every AWS tool: `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, profiles, the
/// function's role, …
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>).
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The region, for example `eu-central-1`.
    pub region: Option<String>,
    /// The URL of a server that speaks AWS's protocols, instead of AWS.
    pub endpoint: Option<String>,
    /// The access key that signs requests.
    pub key: Option<AccessKey>,
    /// How long to wait for an answer.
    pub patience: Patience,
}

/// An access key
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html>).
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

/// The error that neither the caller nor the environment names a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("AWS region unknown: set AWS_REGION")]
pub struct NoRegion;

/// A client for each service that Tufline uses. Cheap to clone: clones share their connections.
#[derive(Debug, Clone)]
pub struct Clients {
    /// S3. If the endpoint isn't AWS's own, bucket names are in the path, since an emulator has
    /// only one host name.
    pub s3: aws_sdk_s3::Client,
    /// The configuration of all clients.
    pub(crate) config: SdkConfig,
}

impl Clients {
    /// Makes the clients for `access`. Sends nothing to the services, so wrong credentials show at
    /// the first request.
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
            loader = loader.credentials_provider(Credentials::new(
                id,
                secret,
                session_token,
                None,
                "given",
            ));
        }
        let config = loader.load().await;
        // An empty variable counts as unset.
        if config.region().is_none_or(|region| region.as_ref().is_empty()) {
            return Err(NoRegion);
        }
        Ok(Self::of(config))
    }

    /// Makes the clients of a Lambda function. Its environment has the region and its role's
    /// credentials
    /// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>);
    /// `variable` reads it. The other places in which people keep credentials are not searched.
    ///
    /// # Errors
    /// [`NoRegion`] if `AWS_REGION` is not set.
    pub fn of_function(
        variable: impl Fn(&str) -> Option<String>,
        patience: Patience,
    ) -> Result<Self, NoRegion> {
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
        let s3 = aws_sdk_s3::config::Builder::from(&config)
            .force_path_style(config.endpoint_url().is_some())
            .build();
        Self { s3: aws_sdk_s3::Client::from_conf(s3), config }
    }

    /// Makes a client of SQS. A program that never calls this contains none of its code.
    #[must_use]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    /// Makes a client of KMS, which retries throttled requests more often than the other clients.
    #[must_use]
    pub fn kms(&self) -> aws_sdk_kms::Client {
        kms(&self.config)
    }

    /// Makes a client of EventBridge, for the same region, credentials and endpoint.
    #[must_use]
    pub fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        aws_sdk_eventbridge::Client::new(&self.config)
    }

    /// The configuration for clients of other services: the same region, credentials, endpoint and
    /// patience.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// A client of S3 for links that devices follow: over IPv6 too, like the API that redirects
    /// them (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/dual-stack-endpoints.html>). A
    /// given endpoint has only one name.
    pub(crate) fn s3_of_devices(&self) -> aws_sdk_s3::Client {
        if self.config.endpoint_url().is_some() {
            return self.s3.clone();
        }
        aws_sdk_s3::Client::from_conf(self.s3.config().to_builder().use_dual_stack(true).build())
    }
}

/// The timeouts for a server-side copy, and for completing a copy in parts.
///
/// S3 may answer 200 at once, and then send only a space now and then until it is done
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>,
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>). After 20
/// seconds the SDK would take this for a stalled stream
/// (<https://docs.aws.amazon.com/sdk-for-rust/latest/dg/timeouts.html>), so that protection is off.
/// These timeouts still limit the request.
pub(crate) fn copy_patience() -> aws_sdk_s3::config::Builder {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(COPY_ATTEMPT)
        .operation_timeout(2 * COPY_ATTEMPT)
        .build();
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
        Clients::new(Access { region, endpoint, key: Some(key), patience: Patience::DEVICE })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn devices_get_dual_stack_links_unless_an_endpoint_is_given() {
        let link = async |endpoint| {
            let links = S3Links::new(clients(endpoint).await.s3_of_devices(), "bucket".into());
            links.link(&Key::Blob(Sha256::of(b"a"))).await.unwrap()
        };
        let aws = link(None).await;
        assert!(
            aws.starts_with("https://bucket.s3.dualstack.eu-central-1.amazonaws.com/blobs/"),
            "{aws}"
        );
        let other = link(Some("http://127.0.0.1:1".into())).await;
        assert!(other.starts_with("http://127.0.0.1:1/bucket/blobs/"), "{other}");
    }

    /// Answers as S3 does during a copy: the head at once, then nothing for a while, then the rest.
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
                            let upload =
                                format!("<Upload><Key>{key}</Key><UploadId>1</UploadId></Upload>");
                            (false, "ListMultipartUploadsResult", upload)
                        }
                        "GET" if path.contains("uploadId") => {
                            (false, "ListPartsResult", String::new())
                        }
                        "POST" => (true, "CompleteMultipartUploadResult", "<ETag>e</ETag>".into()),
                        "PUT" if path.contains("partNumber") => {
                            (true, "CopyPartResult", "<ETag>e</ETag>".into())
                        }
                        "PUT" => (true, "CopyObjectResult", "<ETag>e</ETag>".into()),
                        _ => (true, "", String::new()),
                    };
                    let status = if method == "HEAD" { "404 Not Found" } else { "200 OK" };
                    let body = if result.is_empty() {
                        "bytes".into()
                    } else {
                        format!("<{result}>{body}</{result}>")
                    };
                    let length = if method == "HEAD" { 0 } else { body.len() };
                    let head = format!(
                        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                    );
                    stream.write_all(head.as_bytes()).unwrap();
                    if slow {
                        std::thread::sleep(Duration::from_secs(2));
                    }
                    // A client that gave up has closed the connection.
                    let _ = stream.write_all(body.as_bytes());
                });
            }
        });
        endpoint
    }

    #[tokio::test]
    async fn a_long_copy_is_no_stalled_stream() {
        let s3 = clients(Some(slow_s3())).await.s3;
        let impatient = StalledStreamProtectionConfig::enabled()
            .grace_period(Duration::from_millis(100))
            .build();
        let s3 = aws_sdk_s3::Client::from_conf(
            s3.config().to_builder().stalled_stream_protection(impatient).build(),
        );
        let version = Some(VersionId("v1".into()));
        let upload = Upload {
            name: "a".into(),
            version,
            length: 5,
            custom: None,
            sha256: None,
            uploaded: None,
            unusable: None,
        };
        let blobs = |whole| {
            let limits = CopyLimits { whole, part: 5 };
            S3Blobs::new(
                s3.clone(),
                "uploads".into(),
                "targets/".into(),
                "repository".into(),
                limits,
            )
        };
        // In one request, and in parts.
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
        assert!(stalled.contains("throughput"), "another request is a stalled stream: {stalled}");
    }

    #[tokio::test]
    async fn an_unreachable_endpoint_is_reported_in_one_line() {
        let clients = clients(Some("http://127.0.0.1:1".into())).await;
        let store = crate::S3Store::new(clients.s3, "repository".into(), "ledger".into());
        let failure = store.get(&Key::Announced).await.unwrap_err().to_string();
        assert!(failure.starts_with("read s3://ledger/announced.json: "), "{failure}");
        assert!(failure.contains("Connection refused") && !failure.contains('\n'), "{failure}");
    }
}
