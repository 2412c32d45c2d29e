//! Where a repository is, before anybody is asked.

use std::collections::BTreeMap;

use anyhow::Context;
use tufline_aws::Clients;

use super::aws::AwsRepository;
use super::endpoints::{AwsEndpoints, FolderEndpoints};
use crate::process;

/// Where a repository is.
#[derive(Debug)]
pub enum Location {
    /// In a folder.
    Folder(Box<FolderEndpoints>),
    /// On AWS.
    Aws(AwsLocation),
}

/// Where a repository on AWS is described.
#[derive(Debug)]
pub enum AwsLocation {
    /// In the parameter of a deployment of this name.
    Stack(String),
    /// In the environment.
    Environment,
    /// In an endpoints file.
    File(Box<AwsEndpoints>),
}

impl AwsLocation {
    /// Finds the names of everything. Only a deployment's parameter is asked for.
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

/// The deployment's variables, as its functions get them, are in one parameter. What the environment says wins.
async fn open_stack(stack: &str, clients: Clients) -> anyhow::Result<AwsRepository> {
    let name = format!("/tufline/{stack}");
    let text = clients.parameter(&name).await?;
    let text =
        text.with_context(|| format!("no parameter {name} here: is '{stack}' deployed in this account and region?"))?;
    let variables: BTreeMap<String, String> =
        serde_json::from_str(&text).with_context(|| format!("the parameter {name} is not what a deployment writes"))?;
    AwsRepository::described_by(|name| process::variable(name).or_else(|| variables.get(name).cloned()), clients)
}
