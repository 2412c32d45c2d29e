//! `tufline doctor`: what is wrong with a deployment or with this machine, and what to do about it.
//!
//! *Invariant*: without `--try` it only reads and changes nothing (`docs/operations.md` lists the
//! permissions). A check that lacks a permission is reported as unchecked, and the other checks go
//! on.

mod answers;
mod checks;
mod deployment;
mod devices;
mod folder;
mod policy;
mod report;
mod trial;
mod waiting;

use std::path::Path;

use anyhow::bail;
use clap::Args;
use tufline_aws::RequestError;

use crate::exit::{Exit, Result};
use crate::failure::{advice, one_line, request};
use crate::repository::{AwsLocation, EndpointsArguments, FolderRepository, Location, Repository};
use crate::terminal::say;
use report::{Code, Finding, Report, Severity};

/// The default name of a deployment by the app in `cdk/`.
const DEFAULT_STACK: &str = "Tufline";

/// The file that marks a data folder, at the default place of `tufline local`.
const DEFAULT_DATA: &str = ".tufline/format";

/// The advice if devices get no answer from a deployment.
const UNANSWERED: &str = "see the reason; look at the log of serve, and at the API \
                          (docs/operations.md#alarm-serve-errors)";

/// Checks a repository and this machine, and says how to fix each problem. Changes nothing without
/// --try.
///
/// Exits with 0 unless there is a problem; warnings and unchecked items don't count. If you name no
/// repository and there is none in `.tufline`, it checks the deployment `Tufline`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Send one small artifact through everything: upload it as tufline-doctor/…, fetch it as a
    /// device does, and remove it
    #[arg(long = "try")]
    trial: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: EndpointsArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    let mut report = Report::default();
    let repository = find_repository(&arguments.repository, &mut report).await;
    match &repository {
        Some(repository @ Repository::Folder(folder)) => {
            report.add(folder::check(folder, repository).await);
        }
        Some(repository @ Repository::Aws(aws)) => {
            // On the heap: a future that waits for this many answers is large.
            report.add(Box::pin(deployment::check(aws)).await);
            report.add(devices::check(repository, UNANSWERED).await);
        }
        None => {}
    }
    if let Some(repository) = repository.as_ref().filter(|_| arguments.trial) {
        report.add([trial::run(repository).await]);
    }
    report.print(arguments.json);
    if report.count(Severity::Problem) > 0 {
        bail!("{}", report.summary());
    }
    if !arguments.json {
        say!("{}", report.summary());
    }
    Ok(Exit::Done)
}

/// Finds the repository, if it can; each step towards it is a check of its own.
async fn find_repository(
    arguments: &EndpointsArguments,
    report: &mut Report,
) -> Option<Repository> {
    let is_nothing = arguments.is_silent() && !Path::new(DEFAULT_DATA).exists();
    let location = if is_nothing {
        Ok(Location::Aws(AwsLocation::Stack(DEFAULT_STACK.into())))
    } else {
        arguments.locate()
    };
    let location = match location {
        Ok(Location::Folder(endpoints)) => match FolderRepository::with(*endpoints) {
            Ok(folder) => return Some(Repository::Folder(folder)),
            Err(error) => {
                report.add([Finding::problem(
                    Code::Data,
                    "the data folder",
                    one_line(&error),
                    folder::START,
                )]);
                return None;
            }
        },
        Ok(Location::Aws(location)) => location,
        Err(error) => {
            let advice = "start `tufline local`, or name a repository with --endpoints or --stack";
            report.add([Finding::problem(
                Code::Deployment,
                "the repository",
                one_line(&error),
                advice,
            )]);
            return None;
        }
    };
    let clients = match arguments.clients(&location).await {
        Ok(clients) => clients,
        Err(error) => {
            let advice = "set AWS_REGION to the region of the deployment, or name a profile with \
                          one in AWS_PROFILE";
            report.add([Finding::problem(Code::Region, "AWS", one_line(&error), advice)]);
            return None;
        }
    };
    let region = clients.config().region().map(ToString::to_string).unwrap_or_default();
    report.add([Finding::ok(Code::Region, region.clone(), "AWS is asked in this region")]);
    let (findings, is_known) = deployment::check_sign_in(&clients).await;
    report.add(findings);
    if !is_known {
        let what = "everything else";
        report.add([Finding::unchecked(
            Code::Deployment,
            what,
            "it needs a sign-in",
            "fix that first",
        )]);
        return None;
    }
    let what = match &location {
        AwsLocation::Stack(name) => format!("the deployment {name}"),
        AwsLocation::Environment => "the deployment of the environment".into(),
        AwsLocation::File(_) => "the deployment of the endpoints file".into(),
    };
    match location.open(clients).await {
        Ok(aws) => {
            report.add([Finding::ok(Code::Deployment, what, "found")]);
            Some(Repository::Aws(Box::new(aws)))
        }
        Err(error) => {
            report.add([not_found(what, &error, &region).await]);
            None
        }
    }
}

async fn not_found(what: String, error: &anyhow::Error, region: &str) -> Finding {
    if request(&**error).is_some_and(RequestError::is_refusal) {
        let why = "it needs the permission ssm:GetParameter for the deployment's parameter";
        return Finding::unchecked(Code::Deployment, what, why, answers::PERMISSIONS);
    }
    let otherwise = format!(
        "deploy it (docs/deploy.md), or name it with --stack and set AWS_REGION to its region, \
         which is {region} now"
    );
    let advice = advice(&**error).await.map_or(otherwise, str::to_owned);
    Finding::problem(Code::Deployment, what, one_line(error), advice)
}
