//! Which repository a command is about: an endpoints file of either form, or the AWS environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tufline_aws::{Access, AccessKey, Clients, Resources};
use tufline_folder::given;
use tufline_store::{Queue, Store, VerifiedRoots};
use tufline_tuf::Config;
use url::Url;

use crate::access::DeviceAccess;
use crate::edge;
use crate::show::Quoted;

/// Where `tufline local` leaves its endpoints file unless told otherwise.
const DEFAULT_FILE: &str = ".tufline/endpoints.json";

/// Which repository is meant.
#[derive(Debug, Clone, Args)]
pub struct ConnectionArguments {
    /// The endpoints file of the repository, as `tufline local` and `tests/cloud up` write it [default:
    /// .tufline/endpoints.json, or the AWS environment where `TUFLINE_UPLOADS_BUCKET` is set]
    #[arg(long, env = "TUFLINE_ENDPOINTS", value_name = "FILE")]
    pub endpoints: Option<PathBuf>,
    /// The name of a deployment, in the account and region of the AWS environment: its resources are found through the
    /// parameter /tufline/NAME
    #[arg(long, env = "TUFLINE_STACK", value_name = "NAME", conflicts_with = "endpoints")]
    pub stack: Option<String>,
    /// A JSON file with `access_key_id`, `secret_access_key` and perhaps `session_token`, in place of the endpoints
    /// file's
    #[arg(long, value_name = "FILE")]
    pub admin: Option<PathBuf>,
}

/// What devices need to know of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicEndpoints {
    /// Where metadata is: a URL that ends in `/`.
    pub metadata_url: Url,
    /// Where targets are: a URL that ends in `/`.
    pub targets_url: Url,
    /// A file with the root that a device ships with.
    pub trusted_root: PathBuf,
}

/// `endpoints.json` of the embedded form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderEndpoints {
    /// The folder to drop files in.
    pub uploads: PathBuf,
    /// For devices.
    #[serde(flatten)]
    pub public: PublicEndpoints,
    /// The file of events, in the data folder.
    pub events: PathBuf,
}

/// A repository on AWS.
#[derive(Debug, Clone)]
pub struct AwsConnection {
    /// A client for each service.
    pub clients: Clients,
    /// The names of buckets, queues, keys and bus, as far as they are known.
    pub resources: Resources,
    /// For devices; `None` where neither file nor environment says.
    pub public: Option<PublicEndpoints>,
    /// How devices are let in, as `TUFLINE_ACCESS` says it.
    pub access: Option<String>,
    /// The functions' configuration, in JSON, where it is known.
    pub config: Option<String>,
    /// What the names of its functions begin with, where it is known.
    pub name: Option<String>,
    /// The version of Tufline that was deployed, where the parameter tells.
    pub version: Option<String>,
}

/// Where a repository is, before anybody is asked.
#[derive(Debug)]
pub enum Place {
    /// In a folder.
    Folder(Box<FolderEndpoints>),
    /// On AWS.
    Aws(AwsPlace),
}

/// Where a repository on AWS is described.
#[derive(Debug)]
pub enum AwsPlace {
    /// In the parameter of a deployment of this name.
    Stack(String),
    /// In the environment.
    Environment,
    /// In an endpoints file.
    File(Box<AwsEndpoints>),
}

/// A repository.
#[derive(Debug, Clone)]
pub enum Connection {
    /// Of `tufline local`.
    Folder(Box<FolderEndpoints>),
    /// On AWS.
    Aws(Box<AwsConnection>),
}

/// `endpoints.json` of the form on AWS. The keys are an uploader's.
#[derive(Debug, Deserialize)]
pub struct AwsEndpoints {
    aws: Option<String>,
    region: Option<String>,
    #[serde(flatten)]
    key: Option<KeyFile>,
    uploads_bucket: String,
    uploads_prefix: String,
    repository_bucket: Option<String>,
    ledger_bucket: Option<String>,
    #[serde(flatten)]
    public: Option<PublicEndpoints>,
    #[serde(default)]
    queues: BTreeMap<String, String>,
    event_bus: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct KeyFile {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

impl From<KeyFile> for AccessKey {
    fn from(file: KeyFile) -> Self {
        Self { id: file.access_key_id, secret: file.secret_access_key, session_token: file.session_token }
    }
}

impl ConnectionArguments {
    /// Connects. On AWS nothing is sent yet, but for the parameter: wrong credentials show at the first request.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        match self.place()? {
            Place::Folder(endpoints) => Ok(Connection::Folder(endpoints)),
            Place::Aws(place) => {
                let clients = self.clients(&place).await?;
                Ok(Connection::Aws(Box::new(place.connect(clients).await?)))
            }
        }
    }

    /// Where the repository is. Reads no more than the endpoints file.
    pub fn place(&self) -> anyhow::Result<Place> {
        if let Some(stack) = &self.stack {
            return Ok(Place::Aws(AwsPlace::Stack(stack.clone())));
        }
        if self.endpoints.is_none() && edge::variable("TUFLINE_UPLOADS_BUCKET").is_some() {
            return Ok(Place::Aws(AwsPlace::Environment));
        }
        let file = self.endpoints.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let text = given::read(&file).with_context(|| {
            if file.exists() {
                return format!("cannot read {}", file.quoted());
            }
            format!("no endpoints in {}: start `tufline local`, or name the right file with --endpoints", file.quoted())
        })?;
        match read(&text, &file)? {
            Place::Folder(_) if self.admin.is_some() => {
                bail!("{} is of a repository in a folder, which needs no --admin", file.quoted())
            }
            place => Ok(place),
        }
    }

    /// Whether nothing says which repository is meant: no argument, no variable, and no file where `tufline local` leaves it.
    pub fn is_silent(&self) -> bool {
        let said =
            self.endpoints.is_some() || self.stack.is_some() || edge::variable("TUFLINE_UPLOADS_BUCKET").is_some();
        !said && !Path::new(DEFAULT_FILE).exists()
    }

    /// A client for each service. Sends nothing.
    pub async fn clients(&self, place: &AwsPlace) -> anyhow::Result<Clients> {
        let mut access = match place {
            AwsPlace::Stack(_) | AwsPlace::Environment => Access::default(),
            AwsPlace::File(file) => Access {
                region: file.region.clone(),
                endpoint: file.aws.clone(),
                key: file.key.clone().map(AccessKey::from),
                ..Access::default()
            },
        };
        if let Some(file) = &self.admin {
            let text = given::read(file).with_context(|| format!("cannot read {}", file.quoted()))?;
            let key: KeyFile = serde_json::from_slice(&text).with_context(|| {
                format!("{} is not a JSON file with access_key_id and secret_access_key", file.quoted())
            })?;
            access.key = Some(key.into());
        }
        Ok(Clients::new(access).await?)
    }
}

impl AwsPlace {
    /// Finds the names of everything. Only a deployment's parameter is asked for.
    pub async fn connect(self, clients: Clients) -> anyhow::Result<AwsConnection> {
        match self {
            Self::Environment => aws_in(edge::variable, clients),
            Self::File(endpoints) => {
                let resources = resources(&endpoints);
                Ok(aws_with(edge::variable, clients, resources, endpoints.public))
            }
            Self::Stack(stack) => connect_to_stack(&stack, clients).await,
        }
    }
}

/// The deployment's variables, as its functions get them, are in one parameter. What the environment says wins.
async fn connect_to_stack(stack: &str, clients: Clients) -> anyhow::Result<AwsConnection> {
    let name = format!("/tufline/{stack}");
    let text = clients.parameter(&name).await?;
    let text =
        text.with_context(|| format!("no parameter {name} here: is '{stack}' deployed in this account and region?"))?;
    let variables: BTreeMap<String, String> =
        serde_json::from_str(&text).with_context(|| format!("the parameter {name} is not what a deployment writes"))?;
    aws_in(|name| edge::variable(name).or_else(|| variables.get(name).cloned()), clients)
}

/// The repository on AWS that `variable` tells of.
fn aws_in(variable: impl Fn(&str) -> Option<String>, clients: Clients) -> anyhow::Result<AwsConnection> {
    let (resources, public) = (Resources::from_variables(&variable), public_in(&variable)?);
    Ok(aws_with(variable, clients, resources, public))
}

/// The same, where its resources and URLs are known from elsewhere.
fn aws_with(
    variable: impl Fn(&str) -> Option<String>,
    clients: Clients,
    resources: Resources,
    public: Option<PublicEndpoints>,
) -> AwsConnection {
    AwsConnection {
        clients,
        resources,
        public,
        access: variable("TUFLINE_ACCESS"),
        config: variable("TUFLINE_CONFIG"),
        name: variable("TUFLINE_REPOSITORY"),
        version: variable("TUFLINE_VERSION"),
    }
}

impl AwsConnection {
    /// The repository and the ledger.
    pub fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        let stored = Arc::new(self.resources.store(&self.clients)?);
        Ok(Arc::new(VerifiedRoots::new(stored, self.config()?.trusted_root)))
    }

    /// The repository's policy, as the functions get it.
    pub fn config(&self) -> anyhow::Result<Config> {
        let config = self.config.as_deref().map(serde_json::from_str).transpose();
        Ok(config.context("TUFLINE_CONFIG is not a configuration in JSON")?.unwrap_or_default())
    }
}

impl FolderEndpoints {
    /// The data folder.
    pub fn data(&self) -> anyhow::Result<&Path> {
        self.events.parent().context("the endpoints file's `events` lies in no folder")
    }
}

impl Connection {
    /// How devices are let in.
    pub fn device_access(&self) -> anyhow::Result<DeviceAccess> {
        match self {
            Self::Folder(_) => Ok(DeviceAccess::Open),
            Self::Aws(aws) => DeviceAccess::of(aws.access.as_deref(), &aws.clients),
        }
    }

    /// What devices need.
    pub fn public(&self) -> anyhow::Result<&PublicEndpoints> {
        match self {
            Self::Folder(endpoints) => Ok(&endpoints.public),
            Self::Aws(aws) => aws.public.as_ref().context(
                "where devices find the repository isn't known: set TUFLINE_METADATA_URL, TUFLINE_TARGETS_URL and \
                 TUFLINE_TRUSTED_ROOT",
            ),
        }
    }
}

fn read(text: &[u8], file: &Path) -> anyhow::Result<Place> {
    let not_endpoints = || format!("{} is not an endpoints file", file.quoted());
    let value: Value = serde_json::from_slice(text).with_context(not_endpoints)?;
    // Relative paths in a file that was moved about are meant from where it lies.
    let folder = file.parent().unwrap_or(Path::new(""));
    if value.get("uploads_bucket").is_none() {
        let mut endpoints: FolderEndpoints = serde_json::from_value(value).with_context(not_endpoints)?;
        endpoints.public.trusted_root = folder.join(&endpoints.public.trusted_root);
        return Ok(Place::Folder(Box::new(endpoints)));
    }
    let mut endpoints: AwsEndpoints = serde_json::from_value(value).with_context(not_endpoints)?;
    if let Some(public) = &mut endpoints.public {
        public.trusted_root = folder.join(&public.trusted_root);
    }
    Ok(Place::Aws(AwsPlace::File(Box::new(endpoints))))
}

/// What the file says; the names that it never has (the KMS keys') come from the environment.
fn resources(endpoints: &AwsEndpoints) -> Resources {
    let url = |queue: Queue, kind: &str| {
        let fifo = if queue.is_fifo() { ".fifo" } else { "" };
        let url = endpoints.queues.get(&format!("{}{kind}{fifo}", queue.name()))?;
        Some((queue, url.clone()))
    };
    Resources {
        uploads_bucket: Some(endpoints.uploads_bucket.clone()),
        uploads_prefix: Some(endpoints.uploads_prefix.clone()),
        repository_bucket: endpoints.repository_bucket.clone(),
        ledger_bucket: endpoints.ledger_bucket.clone(),
        queues: Queue::ALL.into_iter().filter_map(|queue| url(queue, "")).collect(),
        dead_letter_queues: Queue::ALL.into_iter().filter_map(|queue| url(queue, "-dlq")).collect(),
        event_bus: endpoints.event_bus.clone(),
        ..Resources::from_variables(edge::variable)
    }
}

fn public_in(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<PublicEndpoints>> {
    let url = |name: &str| {
        let url = variable(name).map(|url| url.parse::<Url>().with_context(|| format!("{name} is not a URL")));
        url.transpose()
    };
    let (metadata, targets) = (url("TUFLINE_METADATA_URL")?, url("TUFLINE_TARGETS_URL")?);
    let root = variable("TUFLINE_TRUSTED_ROOT");
    Ok(metadata.zip(targets).zip(root).map(|((metadata_url, targets_url), root)| PublicEndpoints {
        metadata_url,
        targets_url,
        trusted_root: root.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_forms_file_has_exactly_its_fields() {
        let endpoints = FolderEndpoints {
            uploads: "/d/uploads".into(),
            public: PublicEndpoints {
                metadata_url: "http://127.0.0.1:8080/metadata/".parse().unwrap(),
                targets_url: "http://127.0.0.1:8080/targets/".parse().unwrap(),
                trusted_root: "/d/root.json".into(),
            },
            events: "/d/events.jsonl".into(),
        };
        let json = serde_json::to_value(&endpoints).unwrap();
        let fields: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["events", "metadata_url", "targets_url", "trusted_root", "uploads"]);
        let Place::Folder(read) = read(json.to_string().as_bytes(), Path::new("/d/endpoints.json")).unwrap() else {
            panic!()
        };
        assert_eq!(*read, endpoints);
        assert_eq!(read.data().unwrap(), Path::new("/d"));
    }

    #[test]
    fn the_file_of_a_deployment_is_read() {
        let json = serde_json::json!({
            "aws": "http://127.0.0.1:1", "region": "eu-central-1", "access_key_id": "A", "secret_access_key": "S",
            "uploads_bucket": "u", "uploads_prefix": "targets/", "repository_bucket": "r", "ledger_bucket": "l",
            "metadata_url": "http://h/metadata/", "targets_url": "http://h/targets/", "trusted_root": "root.json",
            "queues": {"uploads": "q", "uploads-dlq": "d", "sign.fifo": "s", "sign-dlq.fifo": "sd"}, "event_bus": "b",
        });
        let Place::Aws(AwsPlace::File(endpoints)) =
            read(json.to_string().as_bytes(), Path::new("/x/endpoints.json")).unwrap()
        else {
            panic!()
        };
        let found = resources(&endpoints);
        assert_eq!(found.queues, BTreeMap::from([(Queue::Uploads, "q".into()), (Queue::Sign, "s".into())]));
        assert_eq!(found.dead_letter_queues[&Queue::Sign], "sd");
        assert_eq!(endpoints.public.unwrap().trusted_root, Path::new("/x/root.json"));
        let key: AccessKey = endpoints.key.unwrap().into();
        assert_eq!((key.id.as_str(), key.session_token), ("A", None));
    }

    #[test]
    fn what_is_no_endpoints_file_is_refused() {
        for text in ["", "[]", "{}", r#"{"uploads": "x"}"#, r#"{"uploads_bucket": 1}"#] {
            assert!(read(text.as_bytes(), Path::new("e.json")).is_err(), "{text}");
        }
    }
}
