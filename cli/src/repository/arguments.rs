//! The arguments and environment variables that name a repository.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use tufline_aws::{Access, AccessKey, Clients};
use tufline_folder::given;

use super::endpoints::{AccessKeyFile, EndpointsFile};
use super::folder::FolderRepository;
use super::location::{AwsLocation, Location};
use super::opened::Repository;
use crate::process;
use crate::text::Quoted;

/// The default place of the endpoints file of `tufline local`.
const DEFAULT_FILE: &str = ".tufline/endpoints.json";

/// The arguments that name a running repository.
#[derive(Debug, Clone, Args)]
pub struct EndpointsArguments {
    /// The endpoints file of the repository, as `tufline local` and `tests/cloud up` write it
    /// [default: .tufline/endpoints.json, or the AWS environment if `TUFLINE_UPLOADS_BUCKET` is
    /// set]
    #[arg(long, env = "TUFLINE_ENDPOINTS", value_name = "FILE")]
    pub endpoints: Option<PathBuf>,
    /// The name of a deployment in the account and region of the AWS environment. The parameter
    /// /tufline/NAME lists its resources
    #[arg(long, env = "TUFLINE_STACK", value_name = "NAME", conflicts_with = "endpoints")]
    pub stack: Option<String>,
    /// A JSON file with an operator's `access_key_id`, `secret_access_key` and perhaps
    /// `session_token`, instead of the credentials in the endpoints file
    #[arg(long, value_name = "FILE")]
    pub admin: Option<PathBuf>,
}

impl EndpointsArguments {
    /// Opens the repository. On AWS this reads at most the deployment's parameter, so wrong
    /// credentials may show only at the first request.
    pub async fn open(&self) -> anyhow::Result<Repository> {
        match self.locate()? {
            Location::Folder(endpoints) => {
                Ok(Repository::Folder(FolderRepository::with(*endpoints)?))
            }
            Location::Aws(location) => {
                let clients = self.clients(&location).await?;
                Ok(Repository::Aws(Box::new(location.open(clients).await?)))
            }
        }
    }

    /// Where the repository is. Reads nothing but the endpoints file.
    pub fn locate(&self) -> anyhow::Result<Location> {
        if let Some(stack) = &self.stack {
            return Ok(Location::Aws(AwsLocation::Stack(stack.clone())));
        }
        if self.endpoints.is_none() && process::variable("TUFLINE_UPLOADS_BUCKET").is_some() {
            return Ok(Location::Aws(AwsLocation::Environment));
        }
        let file = self.endpoints.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let text = given::read(&file).with_context(|| {
            if file.exists() {
                return format!("cannot read {}", file.quoted());
            }
            format!(
                "no endpoints in {}: start `tufline local`, or name the right file with \
                     --endpoints",
                file.quoted()
            )
        })?;
        match EndpointsFile::parse(&text, &file)? {
            EndpointsFile::Folder(_) if self.admin.is_some() => {
                bail!("{} names a repository in a folder, which needs no --admin", file.quoted())
            }
            EndpointsFile::Folder(endpoints) => Ok(Location::Folder(endpoints)),
            EndpointsFile::Aws(endpoints) => Ok(Location::Aws(AwsLocation::File(endpoints))),
        }
    }

    /// Whether nothing names a repository: no argument, no variable, and no endpoints file at the
    /// default place.
    pub fn is_silent(&self) -> bool {
        let said = self.endpoints.is_some()
            || self.stack.is_some()
            || process::variable("TUFLINE_UPLOADS_BUCKET").is_some();
        !said && !Path::new(DEFAULT_FILE).exists()
    }

    /// Makes a client for each AWS service. Sends nothing.
    pub async fn clients(&self, location: &AwsLocation) -> anyhow::Result<Clients> {
        let mut access = match location {
            AwsLocation::Stack(_) | AwsLocation::Environment => Access::default(),
            AwsLocation::File(file) => Access {
                region: file.region.clone(),
                endpoint: file.aws.clone(),
                key: file.key.clone().map(AccessKey::from),
                ..Access::default()
            },
        };
        if let Some(file) = &self.admin {
            let text =
                given::read(file).with_context(|| format!("cannot read {}", file.quoted()))?;
            let key: AccessKeyFile = serde_json::from_slice(&text).with_context(|| {
                format!(
                    "{} is not a JSON file with access_key_id and secret_access_key",
                    file.quoted()
                )
            })?;
            access.key = Some(key.into());
        }
        Ok(Clients::new(access).await?)
    }
}

/// The arguments that name a repository, which may also be a folder without a running process.
#[derive(Debug, Args)]
pub struct RepositoryArguments {
    /// The data folder of a repository, whether its `tufline local` runs or not
    #[arg(long, value_name = "DIR", conflicts_with_all = ["endpoints", "stack", "admin"])]
    data: Option<PathBuf>,
    #[command(flatten)]
    endpoints: EndpointsArguments,
}

impl RepositoryArguments {
    /// Whether an argument names a repository.
    pub fn is_given(&self) -> bool {
        self.data.is_some() || self.endpoints.endpoints.is_some() || self.endpoints.stack.is_some()
    }

    pub async fn open(&self) -> anyhow::Result<Repository> {
        match &self.data {
            Some(data) => Ok(Repository::Folder(FolderRepository::at(data)?)),
            None => self.endpoints.open().await,
        }
    }
}
