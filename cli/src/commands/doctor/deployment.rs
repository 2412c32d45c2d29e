//! A deployment on AWS: asks AWS, and hands the answers to the checks.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_lambda::types::RecursiveLoop;
use aws_sdk_sqs::types::QueueAttributeName;
use futures::future::join_all;
use tufline_aws::{Clients, RequestError};
use tufline_store::{OnlineRole, Queue};
use tufline_tuf::Time;

use super::answers::{DateKeeper, Unanswered};
use super::checks::{self, CHUNK, FunctionStatus, STAGES, Trigger};
use super::report::{Code, Finding, together};
use crate::failure::{advice, one_line};
use crate::process::now;
use crate::repository::AwsRepository;

/// The most alarms that one request may ask for
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html>).
const MOST_ALARMS: i32 = 100;

/// Checks the sign-in, and the clock against AWS's, which every answer states. The flag says
/// whether AWS knows the sign-in.
///
/// This needs no permission
/// (<https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>).
pub async fn check_sign_in(clients: &Clients) -> (Vec<Finding>, bool) {
    let keeper = DateKeeper::default();
    let client = aws_sdk_sts::Client::new(clients.config());
    let answer = client.get_caller_identity().customize().interceptor(keeper.clone()).send().await;
    let theirs = keeper.date().and_then(|date| parse_date(&date));
    let is_known = answer.is_ok();
    let mut findings = vec![match answer {
        Ok(answer) => {
            let who = answer.arn().unwrap_or("somebody").to_owned();
            Finding::ok(Code::SignIn, who, "AWS knows this sign-in")
        }
        Err(error) => {
            let error = RequestError::from(error);
            let otherwise = if error.status.is_some() {
                "sign in again"
            } else {
                "check that this machine reaches AWS: region, network, proxy, AWS_ENDPOINT_URL"
            };
            let what_to_do = advice(&error).await.unwrap_or(otherwise);
            Finding::problem(Code::SignIn, "your AWS sign-in", error.to_string(), what_to_do)
        }
    }];
    findings.extend(theirs.map(|theirs| checks::judge_clock(now(), theirs)));
    (findings, is_known)
}

fn parse_date(text: &str) -> Option<Time> {
    let date =
        aws_smithy_types::DateTime::from_str(text, aws_smithy_types::date_time::Format::HttpDate)
            .ok()?;
    Time::from_second(date.secs()).ok()
}

/// All checks that ask AWS about a deployment.
pub async fn check(aws: &AwsRepository) -> Vec<Finding> {
    let lambda = aws_sdk_lambda::Client::new(aws.clients.config());
    let functions = ask_functions(aws, &lambda).await;
    let roles = functions
        .iter()
        .filter_map(|(stage, seen)| Some((*stage, seen.as_ref().ok()?.role.clone()?)))
        .collect();
    let (version, concurrency, recursion, triggers, schedule, buckets, keys, letters, alarms) = futures::join!(
        async { vec![check_version(aws)] },
        async { vec![check_concurrency(&lambda).await] },
        check_recursion(aws, &lambda),
        check_triggers(aws, &lambda),
        async { vec![check_schedule(aws).await] },
        check_buckets(aws),
        check_keys(aws, &roles),
        check_dead_letters(aws),
        check_alarms(aws),
    );
    let functions = functions.into_iter().filter_map(|(stage, seen)| {
        let name = function_name(aws, stage)?;
        match seen {
            Ok(seen) => checks::judge_function(&name, &seen),
            Err(why) => Some(why.finding(
                Code::Functions,
                format!("the function {name}"),
                "lambda:GetFunction",
            )),
        }
    });
    let functions = match &aws.name {
        Some(_) => together(Code::Functions, "all functions", "active", functions.collect()),
        None => vec![nameless(Code::Functions, "the functions")],
    };
    [version, concurrency, functions, recursion, triggers, schedule, buckets, keys, letters, alarms]
        .concat()
}

/// The finding of a check that needs the deployment's name, if nothing tells the name.
fn nameless(code: Code, what: &str) -> Finding {
    let advice = "name the deployment with --stack, from which all names follow";
    Finding::unchecked(code, what, "the endpoints file doesn't give their names", advice)
}

fn function_name(aws: &AwsRepository, stage: &str) -> Option<String> {
    aws.name.as_ref().map(|name| format!("{name}-{stage}"))
}

fn check_version(aws: &AwsRepository) -> Finding {
    if let Err(error) = aws.config() {
        let advice = "use a command line of the version that is deployed, or deploy again \
                      (docs/deploy.md#update)";
        let what = "this command line";
        return Finding::problem(Code::Version, what, one_line(&error), advice);
    }
    checks::judge_version(aws.version.as_deref(), env!("CARGO_PKG_VERSION"))
}

async fn check_concurrency(lambda: &aws_sdk_lambda::Client) -> Finding {
    match lambda.get_account_settings().send().await {
        Ok(answer) => {
            let limit = answer.account_limit();
            let limits = limit.map(|limit| {
                (limit.concurrent_executions(), limit.unreserved_concurrent_executions())
            });
            let (all, unreserved) = limits.unwrap_or_default();
            checks::judge_concurrency(all, unreserved)
        }
        Err(error) => {
            let what = "this account's Lambda functions";
            Unanswered::from(error).finding(Code::Concurrency, what, "lambda:GetAccountSettings")
        }
    }
}

type Functions = Vec<(&'static str, Result<FunctionStatus, Unanswered>)>;

async fn ask_functions(aws: &AwsRepository, lambda: &aws_sdk_lambda::Client) -> Functions {
    let chunk = aws.resources.chunk_queue.as_ref().map(|_| CHUNK);
    let asking = STAGES.iter().map(|(stage, _)| *stage).chain(chunk).filter_map(|stage| {
        let name = function_name(aws, stage)?;
        Some(async move {
            let seen = lambda.get_function().function_name(name).send().await;
            let seen = seen.map_err(Unanswered::from).map(|answer| {
                let reserved = answer
                    .concurrency
                    .and_then(|concurrency| concurrency.reserved_concurrent_executions);
                let seen = answer.configuration.map(|function| FunctionStatus {
                    state: function.state.as_ref().map(|state| state.as_str().to_owned()),
                    update: function
                        .last_update_status
                        .as_ref()
                        .map(|status| status.as_str().to_owned()),
                    reason: function.state_reason.or(function.last_update_status_reason),
                    reserved,
                    role: function.role,
                });
                seen.unwrap_or_default()
            });
            (stage, seen)
        })
    });
    join_all(asking.collect::<Vec<_>>()).await
}

/// Each queue, with the name of the function that consumes it.
fn list_consumers(aws: &AwsRepository) -> Vec<(Queue, String)> {
    STAGES
        .iter()
        .filter_map(|(stage, queue)| Some(((*queue)?, function_name(aws, stage)?)))
        .collect()
}

async fn check_recursion(aws: &AwsRepository, lambda: &aws_sdk_lambda::Client) -> Vec<Finding> {
    if aws.name.is_none() {
        return vec![nameless(Code::Recursion, "the functions")];
    }
    let asking = list_consumers(aws).into_iter().map(|(_, name)| async move {
        match lambda.get_function_recursion_config().function_name(&name).send().await {
            Ok(answer) => {
                checks::judge_recursion(&name, answer.recursive_loop == Some(RecursiveLoop::Allow))
            }
            Err(error) => {
                let (what, needs) =
                    (format!("the function {name}"), "lambda:GetFunctionRecursionConfig");
                Some(Unanswered::from(error).finding(Code::Recursion, what, needs))
            }
        }
    });
    let wrong = join_all(asking.collect::<Vec<_>>()).await.into_iter().flatten().collect();
    together(
        Code::Recursion,
        "all functions of queues",
        "Lambda lets them call each other as often as it takes",
        wrong,
    )
}

async fn check_triggers(aws: &AwsRepository, lambda: &aws_sdk_lambda::Client) -> Vec<Finding> {
    if aws.name.is_none() {
        return vec![nameless(Code::Triggers, "what calls the functions")];
    }
    let consumers = list_consumers(aws)
        .into_iter()
        .map(|(queue, name)| (aws.resources.queues.get(&queue), name));
    let chunk = aws.resources.chunk_queue.as_ref();
    let chunk = chunk.and_then(|queue| Some((Some(queue), function_name(aws, CHUNK)?)));
    let asking = consumers.chain(chunk).map(|(url, name)| async move {
        // The last part of an ARN, or of a URL, is the queue's name.
        let url = url.map_or("", String::as_str);
        let queue = url.rsplit('/').next().unwrap_or_default();
        let mut pages = lambda
            .list_event_source_mappings()
            .function_name(&name)
            .into_paginator()
            .items()
            .send();
        let mut triggers = Vec::new();
        while let Some(mapping) = pages.next().await {
            match mapping {
                Ok(mapping) => {
                    let source =
                        mapping.event_source_arn.as_deref().and_then(|arn| arn.rsplit(':').next());
                    if source == Some(queue) {
                        let (uuid, state) =
                            (mapping.uuid.unwrap_or_default(), mapping.state.unwrap_or_default());
                        triggers.push(Trigger {
                            uuid,
                            state,
                            result: mapping.last_processing_result,
                        });
                    }
                }
                Err(error) => {
                    let (what, needs) =
                        (format!("the queue {queue}"), "lambda:ListEventSourceMappings");
                    return Some(Unanswered::from(error).finding(Code::Triggers, what, needs));
                }
            }
        }
        checks::judge_trigger(queue, &name, &triggers)
    });
    let wrong = join_all(asking.collect::<Vec<_>>()).await.into_iter().flatten().collect();
    together(Code::Triggers, "all queues", "their messages are handed to the functions", wrong)
}

async fn check_schedule(aws: &AwsRepository) -> Finding {
    let Some(name) = function_name(aws, "refresh") else {
        return nameless(Code::Schedule, "what wakes refresh");
    };
    let client = aws_sdk_scheduler::Client::new(aws.clients.config());
    // CloudFormation chooses the schedule's name, so the check finds it by the function that it
    // invokes.
    let mut pages = client.list_schedules().into_paginator().items().send();
    let (mut found, target) = (Vec::new(), format!(":function:{name}"));
    while let Some(schedule) = pages.next().await {
        match schedule {
            Ok(schedule) => {
                if schedule.target.is_some_and(|called| called.arn.ends_with(&target)) {
                    found.push((schedule.name.unwrap_or_default(), schedule.state));
                }
            }
            Err(error) => {
                let what = format!("the schedule of {name}");
                return Unanswered::from(error).finding(
                    Code::Schedule,
                    what,
                    "scheduler:ListSchedules",
                );
            }
        }
    }
    checks::judge_schedule(&name, &found)
}

async fn check_buckets(aws: &AwsRepository) -> Vec<Finding> {
    let resources = &aws.resources;
    let names = [&resources.uploads_bucket, &resources.repository_bucket, &resources.ledger_bucket];
    let asking = names.into_iter().flatten().map(|bucket| async move {
        let what = || format!("the bucket {bucket}");
        let s3 = &aws.clients.s3;
        let versioning = async {
            match s3.get_bucket_versioning().bucket(bucket).send().await {
                Ok(answer) => checks::judge_versioning(bucket, answer.status()),
                Err(error) => Some(Unanswered::from(error).finding(
                    Code::Versioning,
                    what(),
                    "s3:GetBucketVersioning",
                )),
            }
        };
        let access = async {
            let answer =
                s3.get_public_access_block().bucket(bucket).send().await.map_err(Unanswered::from);
            match answer {
                Ok(answer) => {
                    checks::judge_public_access(bucket, answer.public_access_block_configuration())
                }
                Err(Unanswered::Unset) => checks::judge_public_access(bucket, None),
                Err(why) => {
                    Some(why.finding(Code::PublicAccess, what(), "s3:GetBucketPublicAccessBlock"))
                }
            }
        };
        futures::join!(versioning, access)
    });
    let (versioning, access): (Vec<_>, Vec<_>) =
        join_all(asking.collect::<Vec<_>>()).await.into_iter().unzip();
    let versioning = versioning.into_iter().flatten().collect();
    let access = access.into_iter().flatten().collect();
    [
        together(Code::Versioning, "all buckets", "they keep older versions", versioning),
        together(Code::PublicAccess, "all buckets", "closed to the public", access),
    ]
    .concat()
}

/// The functions that may sign for a role (`SIGNERS` in `cdk/lib/permissions.ts`).
fn signers_of(role: OnlineRole) -> &'static [&'static str] {
    match role {
        OnlineRole::Targets | OnlineRole::Bins | OnlineRole::Snapshot => &["sign"],
        OnlineRole::Timestamp => &["publish", "refresh"],
    }
}

async fn check_keys(aws: &AwsRepository, roles: &BTreeMap<&'static str, String>) -> Vec<Finding> {
    if aws.resources.keys.is_empty() {
        return vec![nameless(Code::Keys, "the online keys")];
    }
    let asking = aws.resources.keys.iter().map(|(role, ids)| check_keys_of(aws, *role, ids, roles));
    let (states, policies): (Vec<_>, Vec<_>) =
        join_all(asking.collect::<Vec<_>>()).await.into_iter().unzip();
    [
        together(Code::Keys, "all online keys", "enabled", states.concat()),
        together(
            Code::KeyPolicies,
            "all online keys",
            "only the functions that need them may sign",
            policies.concat(),
        ),
    ]
    .concat()
}

/// The states of one role's keys, and who may sign with them.
async fn check_keys_of(
    aws: &AwsRepository,
    role: OnlineRole,
    ids: &str,
    roles: &BTreeMap<&'static str, String>,
) -> (Vec<Finding>, Vec<Finding>) {
    let (kms, name) = (&aws.clients.kms(), format!("{role:?}").to_lowercase());
    let ids: Vec<&str> = ids.split(',').map(str::trim).collect();
    let asking = ids.iter().map(|id| async move { kms.describe_key().key_id(*id).send().await });
    let answers = join_all(asking.collect::<Vec<_>>()).await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| match answer {
            Ok(answer) => {
                answer.key_metadata.ok_or_else(|| Unanswered::Failed("the answer is empty".into()))
            }
            Err(error) => Err(Unanswered::from(error)),
        })
        .collect();
    let enabled =
        answers.iter().filter(|answer| answer.as_ref().is_ok_and(|key| key.enabled)).count();
    let mut states = Vec::new();
    for (id, answer) in ids.iter().zip(answers) {
        states.extend(match answer {
            Ok(key) => checks::judge_key(&name, id, &key, enabled > usize::from(key.enabled)),
            Err(why) => {
                Some(why.finding(Code::Keys, format!("the {name} key {id}"), "kms:DescribeKey"))
            }
        });
    }
    let expected: Option<BTreeSet<String>> =
        signers_of(role).iter().map(|stage| roles.get(stage).cloned()).collect();
    let mut policies = Vec::new();
    for id in &ids {
        let what = format!("the {name} key {id}");
        policies.extend(match &expected {
            Some(expected) => check_policy_of(kms, &name, id, expected).await,
            None => {
                vec![Unanswered::Denied.finding(
                    Code::KeyPolicies,
                    what,
                    "lambda:GetFunction, to know the functions' roles",
                )]
            }
        });
    }
    (states, policies)
}

async fn check_policy_of(
    kms: &aws_sdk_kms::Client,
    role: &str,
    id: &str,
    expected: &BTreeSet<String>,
) -> Vec<Finding> {
    let what = || format!("the {role} key {id}");
    let policy = match kms.get_key_policy().key_id(id).send().await {
        Ok(answer) => answer.policy.unwrap_or_default(),
        Err(error) => {
            return vec![Unanswered::from(error).finding(
                Code::KeyPolicies,
                what(),
                "kms:GetKeyPolicy",
            )];
        }
    };
    let mut pages = kms.list_grants().key_id(id).into_paginator().items().send();
    let (mut grants, mut unread) = (Vec::new(), None);
    while let Some(grant) = pages.next().await {
        match grant {
            Ok(grant) => grants.push(grant),
            Err(error) => {
                unread = Some(Unanswered::from(error).finding(
                    Code::KeyPolicies,
                    what(),
                    "kms:ListGrants",
                ));
                break;
            }
        }
    }
    let mut findings = checks::judge_key_policy(role, id, &policy, &grants, expected);
    findings.extend(unread);
    findings
}

async fn check_dead_letters(aws: &AwsRepository) -> Vec<Finding> {
    let queues = aws.resources.dead_letter_queues.iter().map(|(queue, url)| (queue.name(), url));
    let chunk = aws.resources.chunk_dead_letters.as_ref().map(|url| (CHUNK, url));
    let asking = queues.chain(chunk).map(|(queue, url)| async move {
        let counted = QueueAttributeName::ApproximateNumberOfMessages;
        let answer = aws
            .clients
            .sqs()
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(counted.clone())
            .send()
            .await;
        match answer {
            Ok(answer) => {
                let count =
                    answer.attributes().and_then(|counts| counts.get(&counted)?.parse().ok());
                checks::judge_dead_letters(queue, count.unwrap_or_default())
            }
            Err(error) => {
                let what = format!("the dead letters of {queue}");
                Some(Unanswered::from(error).finding(
                    Code::DeadLetters,
                    what,
                    "sqs:GetQueueAttributes",
                ))
            }
        }
    });
    let wrong = join_all(asking.collect::<Vec<_>>()).await.into_iter().flatten().collect();
    together(Code::DeadLetters, "all queues", "no dead letters", wrong)
}

async fn check_alarms(aws: &AwsRepository) -> Vec<Finding> {
    let Some(name) = &aws.name else { return vec![nameless(Code::Alarms, "the alarms")] };
    let client = aws_sdk_cloudwatch::Client::new(aws.clients.config());
    let names = checks::alarm_names(name, aws.resources.chunk_queue.is_some());
    let request =
        client.describe_alarms().max_records(MOST_ALARMS).set_alarm_names(Some(names.clone()));
    match request.send().await {
        Ok(answer) => {
            let found = checks::judge_alarms(&names, answer.metric_alarms());
            together(Code::Alarms, "all alarms", "none is raised", found)
        }
        Err(error) => {
            let what = format!("the alarms of {name}");
            vec![Unanswered::from(error).finding(Code::Alarms, what, "cloudwatch:DescribeAlarms")]
        }
    }
}
