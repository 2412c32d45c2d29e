//! Where a repository is, before any service is asked.

use std::collections::BTreeMap;

use anyhow::Context;
use tufline_aws::Clients;

use super::aws::AwsRepository;
use super::endpoints::{AwsEndpoints, FolderEndpoints};
use crate::process;

/// Where a repository is.
#[derive(Debug)]
pub enum Location {
    Folder(Box<FolderEndpoints>),
    Aws(AwsLocation),
}

/// Where a repository on AWS is described.
#[derive(Debug)]
pub enum AwsLocation {
    /// In the parameter of the deployment with this name.
    Stack(String),
    /// In environment variables.
    Environment,
    /// In an endpoints file.
    File(Box<AwsEndpoints>),
}

impl AwsLocation {
    /// Finds the names of all resources. The only request is for a deployment's parameter.
    pub async fn open(self, clients: Clients) -> anyhow::Result<AwsRepository> {
        match self {
            Self::Environment => AwsRepository::described_by(process::variable, clients),
            Self::File(endpoints) => {
                let resources = endpoints.resources();
                Ok(AwsRepository::with(process::variable, clients, resources, endpoints.public))
            }
            Self::Stack(stack) => open_stack(&stack, clients).await,
        }
    }
}

/// Opens a deployment by its parameter, which holds the same variables as its functions get. The
/// environment overrides them.
async fn open_stack(stack: &str, clients: Clients) -> anyhow::Result<AwsRepository> {
    let name = format!("/tufline/{stack}");
    let text = clients.parameter(&name).await?;
    let text = text.with_context(|| {
        format!("no parameter {name} here: is '{stack}' deployed in this account and region?")
    })?;
    let variables: BTreeMap<String, String> = serde_json::from_str(&text)
        .with_context(|| format!("the parameter {name} was not written by a deployment"))?;
    AwsRepository::described_by(
        |name| process::variable(name).or_else(|| variables.get(name).cloned()),
        clients,
    )
}
