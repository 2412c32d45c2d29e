//! The checks: what was answered in, what is found out. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudwatch::types::{MetricAlarm, StateValue};
use aws_sdk_kms::types::{GrantListEntry, GrantOperation, KeyMetadata, KeySpec, KeyState, KeyUsageType};
use aws_sdk_s3::types::{BucketVersioningStatus, PublicAccessBlockConfiguration};
use aws_sdk_scheduler::types::ScheduleState;
use tufline_folder::KEPT_FREE;
use tufline_store::Queue;
use tufline_tuf::{Time, time};

use super::policy;
use super::report::{Code, Finding};
use crate::text;

/// AWS refuses a request that was signed more than five minutes before or after it is there
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>).
const REFUSED_SKEW_SECONDS: u64 = 5 * 60;

/// More than this no clock is wrong that is kept right.
const USUAL_SKEW_SECONDS: u64 = 30;

/// What AWS gives by default; new accounts have less, some ten (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const USUAL_CONCURRENCY: i32 = 1000;

/// What all functions but serve may take at once (`cdk/lib/functions.ts`: 50, 10, 2, 1, 1, and 2 runs of refresh), with as much again for devices.
const ENOUGH_CONCURRENCY: i32 = 2 * 66;

/// With less room on the disk uploads are not taken in for long, in bytes.
const ROOM_FOR_UPLOADS: u64 = 1 << 30;

/// The functions, each with the queue that it works off.
pub const STAGES: [(&str, Option<Queue>); 7] = [
    ("hash", Some(Queue::Uploads)),
    ("large", Some(Queue::Large)),
    ("rebuild", Some(Queue::Changes)),
    ("sign", Some(Queue::Sign)),
    ("publish", Some(Queue::Publish)),
    ("refresh", None),
    ("serve", None),
];

/// This machine's clock against the one that AWS's answer gives (RFC 9110, section 6.6.1: in whole seconds).
pub fn clock(ours: Time, theirs: Time) -> Finding {
    let (what, skew) = ("this machine's clock", time::seconds_between(theirs, ours));
    let seconds = skew.unsigned_abs();
    let side = if skew < 0 { "behind" } else { "ahead of" };
    let why = format!("{seconds} s {side} AWS's");
    let advice = "have it set by NTP";
    match seconds {
        0..=USUAL_SKEW_SECONDS => Finding::ok(Code::Clock, what, "right to within 30 s of AWS's"),
        seconds if seconds < REFUSED_SKEW_SECONDS => Finding::warning(Code::Clock, what, why, advice),
        _ => {
            let why = format!("{why}: AWS refuses what is signed so");
            Finding::problem(Code::Clock, what, why, advice)
        }
    }
}

/// The version that is deployed, and this command line's.
pub fn version(deployed: Option<&str>, ours: &str) -> Finding {
    let what = format!("this command line, {ours}");
    match deployed {
        Some(deployed) if deployed == ours => Finding::ok(Code::Version, what, "the version that is deployed"),
        Some(deployed) => {
            let why = format!("{deployed} is deployed");
            let advice = format!("use the command line of {deployed}, or deploy {ours} (docs/deploy.md#update)");
            Finding::warning(Code::Version, what, why, advice)
        }
        None => Finding::unchecked(
            Code::Version,
            what,
            "the deployment doesn't say its version",
            "a deployment by this version will: docs/deploy.md#update",
        ),
    }
}

/// How many functions may run at once in the account's region, and how many of them no function has for itself.
pub fn concurrency(limit: i32, unreserved: Option<i32>) -> Finding {
    let what = "this account's Lambda functions";
    let left = unreserved.filter(|left| *left != limit).map(|left| format!(", {left} of them for whichever comes"));
    let why = format!("{limit} at once in this region{}", left.unwrap_or_default());
    if limit >= ENOUGH_CONCURRENCY {
        return Finding::ok(Code::Concurrency, what, why);
    }
    let why = format!(
        "{why}, as in new accounts: a burst of uploads or of devices takes all of it, and devices get errors meanwhile"
    );
    let advice = format!(
        "ask for {USUAL_CONCURRENCY}, which AWS gives by default: `aws service-quotas request-service-quota-increase --service-code lambda \
         --quota-code L-B99A9384 --desired-value {USUAL_CONCURRENCY}` (docs/deploy.md#let-no-flood-keep-the-timestamp-from-being-renewed)"
    );
    Finding::warning(Code::Concurrency, what, why, advice)
}

/// What Lambda says of a function.
#[derive(Debug, Clone, Default)]
pub struct FunctionStatus {
    /// `State`; where Lambda says none, it is active.
    pub state: Option<String>,
    /// `LastUpdateStatus`.
    pub update: Option<String>,
    /// Why one of both isn't as it should be.
    pub reason: Option<String>,
    /// What is reserved for it.
    pub reserved: Option<i32>,
    /// Its role's ARN.
    pub role: Option<String>,
}

/// Whether a function can run (<https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html>).
pub fn function(name: &str, seen: &FunctionStatus) -> Option<Finding> {
    let what = format!("the function {name}");
    let reason = seen.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    if seen.reserved == Some(0) {
        let advice = format!("let it run again: `aws lambda delete-function-concurrency --function-name {name}`");
        return Some(Finding::problem(Code::Functions, what, "stopped by a reserved concurrency of 0", advice));
    }
    match seen.state.as_deref().unwrap_or("Active") {
        // Lambda takes it up again when it is called.
        "Active" | "Inactive" => {}
        "Pending" => {
            return Some(Finding::warning(Code::Functions, what, format!("Pending{reason}"), "look again in a minute"));
        }
        state => {
            let advice = "mend what the reason says, and deploy again (docs/deploy.md#update)";
            return Some(Finding::problem(Code::Functions, what, format!("{state}{reason}"), advice));
        }
    }
    match seen.update.as_deref().unwrap_or("Successful") {
        "Successful" => None,
        "InProgress" => Some(Finding::warning(Code::Functions, what, "it is being updated", "look again in a minute")),
        update => {
            let why = format!("its last update is {update}{reason}; it runs as it was before");
            Some(Finding::problem(Code::Functions, what, why, "deploy again (docs/deploy.md#update)"))
        }
    }
}

/// Whether Lambda lets a function that works off a queue be called by what it sends
/// (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>).
pub fn recursion(name: &str, is_allowed: bool) -> Option<Finding> {
    if is_allowed {
        return None;
    }
    let why = "Lambda ends a chain of some 16 of its calls, and large uploads and bursts with it";
    let advice = format!("`aws lambda put-function-recursion-config --function-name {name} --recursive-loop Allow`");
    Some(Finding::problem(Code::Recursion, format!("the function {name}"), why, advice))
}

/// An event source mapping.
#[derive(Debug, Clone, Default)]
pub struct Trigger {
    /// Its id.
    pub uuid: String,
    /// `State`.
    pub state: String,
    /// `LastProcessingResult`.
    pub result: Option<String>,
}

/// Whether what waits in a queue is handed to its function
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_EventSourceMappingConfiguration.html>).
pub fn trigger(queue: &str, function: &str, triggers: &[Trigger]) -> Option<Finding> {
    let what = format!("the queue {queue}");
    let Some(trigger) = triggers.iter().find(|trigger| trigger.state == "Enabled").or(triggers.first()) else {
        let why = format!("nothing hands its messages to {function}");
        return Some(Finding::problem(Code::Triggers, what, why, "deploy again (docs/deploy.md#update)"));
    };
    let Trigger { uuid, state, result } = trigger;
    match state.as_str() {
        "Enabled" => {
            let result = result.as_ref().filter(|result| result.starts_with("PROBLEM"))?;
            let advice = format!("look at the log of {function}, and at what its role may do");
            Some(Finding::problem(Code::Triggers, what, format!("handing over fails: {result}"), advice))
        }
        "Creating" | "Enabling" | "Updating" => {
            let why = format!("its event source mapping is {state}");
            Some(Finding::warning(Code::Triggers, what, why, "look again in a minute"))
        }
        _ => {
            let why = format!("its event source mapping is {state}: its messages wait");
            let advice = format!("`aws lambda update-event-source-mapping --uuid {uuid} --enabled`");
            Some(Finding::problem(Code::Triggers, what, why, advice))
        }
    }
}

/// What wakes refresh: the schedules that call it, with their states.
pub fn schedule(function: &str, schedules: &[(String, Option<ScheduleState>)]) -> Finding {
    let what = format!("the schedule of {function}");
    let stops = "the timestamp is not renewed, and devices will refuse it when it expires";
    if schedules.iter().any(|(_, state)| *state == Some(ScheduleState::Enabled)) {
        return Finding::ok(Code::Schedule, what, "enabled");
    }
    let Some((name, _)) = schedules.first() else {
        let why = format!("there is none: {stops}");
        return Finding::problem(Code::Schedule, what, why, "deploy again (docs/deploy.md#update)");
    };
    let why = format!("{name} is disabled: {stops}");
    Finding::problem(Code::Schedule, what, why, "enable it, in EventBridge Scheduler")
}

/// Whether a bucket keeps older versions (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html>).
pub fn versioning(bucket: &str, status: Option<&BucketVersioningStatus>) -> Option<Finding> {
    if status == Some(&BucketVersioningStatus::Enabled) {
        return None;
    }
    let status = status.map_or("off", BucketVersioningStatus::as_str);
    let why = format!(
        "its versioning is {status}: what is replaced or deleted there is gone, and uploads can't be told apart"
    );
    let advice =
        format!("`aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled`");
    Some(Finding::problem(Code::Versioning, format!("the bucket {bucket}"), why, advice))
}

/// Whether a bucket refuses to be opened to the public
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html>).
pub fn public_access(bucket: &str, block: Option<&PublicAccessBlockConfiguration>) -> Option<Finding> {
    let settings = |block: &PublicAccessBlockConfiguration| {
        [
            ("BlockPublicAcls", block.block_public_acls),
            ("IgnorePublicAcls", block.ignore_public_acls),
            ("BlockPublicPolicy", block.block_public_policy),
            ("RestrictPublicBuckets", block.restrict_public_buckets),
        ]
    };
    let off = match block {
        Some(block) => settings(block).into_iter().filter(|(_, on)| *on != Some(true)).map(|(name, _)| name).collect(),
        None => vec!["all of it"],
    };
    if off.is_empty() {
        return None;
    }
    let why = format!("its public access block is off ({}): a policy could open it to everybody", off.join(", "));
    let advice = format!(
        "`aws s3api put-public-access-block --bucket {bucket} --public-access-block-configuration \
         BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true`"
    );
    Some(Finding::problem(Code::PublicAccess, format!("the bucket {bucket}"), why, advice))
}

/// Whether an online key can sign (<https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html>). Beside another one that can
/// it may be one that was replaced.
pub fn key(role: &str, id: &str, key: &KeyMetadata, has_another: bool) -> Option<Finding> {
    let what = format!("the {role} key {id}");
    if key.key_usage != Some(KeyUsageType::SignVerify) || key.key_spec != Some(KeySpec::EccNistP256) {
        let usage = key.key_usage.as_ref().map_or("unknown", KeyUsageType::as_str);
        let spec = key.key_spec.as_ref().map_or("unknown", KeySpec::as_str);
        let why = format!("it is of usage {usage} and spec {spec}: no document can be signed with it");
        let advice = "name a key of usage SIGN_VERIFY and spec ECC_NIST_P256 (docs/keys.md)";
        return Some(Finding::problem(Code::Keys, what, why, advice));
    }
    let state = key.key_state.as_ref().map_or("unknown", KeyState::as_str);
    let (why, advice) = match key.key_state {
        Some(KeyState::Enabled) => return None,
        Some(KeyState::PendingDeletion) => {
            let deletion = key.deletion_date.map(|date| format!(" on {}", day(date.secs()))).unwrap_or_default();
            let why = format!("it will be deleted{deletion}, and signs no more");
            let advice =
                format!("`aws kms cancel-key-deletion --key-id {id}`, and then `aws kms enable-key --key-id {id}`");
            (why, advice)
        }
        Some(KeyState::Disabled) => {
            ("it is disabled, and signs no more".into(), format!("`aws kms enable-key --key-id {id}`"))
        }
        _ => (format!("it is {state}, and signs no more"), "look at it in KMS".into()),
    };
    Some(if has_another {
        Finding::warning(Code::Keys, what, format!("{why}; another key of the role can"), advice)
    } else {
        Finding::problem(Code::Keys, what, why, advice)
    })
}

/// A date of seconds since 1970, in UTC.
fn day(seconds: i64) -> String {
    let time = Time::from_second(seconds).map(|time| time.to_string()).unwrap_or_default();
    time.split('T').next().unwrap_or_default().to_owned()
}

/// Whether nobody may sign with a key but the roles `expected`, and they may.
pub fn key_policy(
    role: &str,
    id: &str,
    policy: &str,
    grants: &[GrantListEntry],
    expected: &BTreeSet<String>,
) -> Vec<Finding> {
    let what = format!("the {role} key {id}");
    let allowed = "only the functions that need it (docs/security.md)";
    let found = match policy::signers(policy) {
        Ok(found) => found,
        Err(error) => {
            let why = format!("its policy can't be read: {error}");
            return vec![Finding::problem(Code::KeyPolicies, what, why, "deploy again (docs/deploy.md#update)")];
        }
    };
    let strangers = found.difference(expected).map(|stranger| {
        let (why, advice) =
            (format!("{stranger} may sign with it"), format!("take that out of the key's policy: {allowed} may"));
        Finding::problem(Code::KeyPolicies, what.clone(), why, advice)
    });
    let missing = expected.difference(&found).map(|missing| {
        let why = format!("{missing} may not sign with it, and has to");
        Finding::problem(Code::KeyPolicies, what.clone(), why, "deploy again, which restores the key's policy")
    });
    let granted = grants.iter().filter_map(|grant| {
        let operations = grant.operations.as_deref().unwrap_or_default();
        operations.contains(&GrantOperation::Sign).then(|| {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "somebody".into());
            let grantee = grant.grantee_principal.as_ref().or(grant.grantee_service_principal.as_ref()).cloned();
            let why = format!("a grant lets {} sign with it", text(&grantee));
            let grant = text(&grant.grant_id);
            let advice = format!("`aws kms revoke-grant --key-id {id} --grant-id {grant}`: {allowed} may");
            Finding::problem(Code::KeyPolicies, what.clone(), why, advice)
        })
    });
    strangers.chain(missing).chain(granted).collect()
}

/// Messages that failed too often.
pub fn dead_letters(queue: &str, count: u64) -> Option<Finding> {
    (count > 0).then(|| {
        let why = text::count(count, "dead letter");
        let advice = "look at the log of its function; what can be read comes back by itself (docs/operations.md#alarm-dead-letters)";
        Finding::problem(Code::DeadLetters, format!("the queue {queue}"), why, advice)
    })
}

/// The names of a repository's alarms (`cdk/lib/alarms.ts`).
pub fn alarm_names(repository: &str) -> Vec<String> {
    let single = [
        "root-expires",
        "timestamp-expires",
        "snapshot-expires",
        "targets-expires",
        "bins-expires",
        "gate-refusal",
        "ignored-root",
        "publication-lag",
        "serve-errors",
    ];
    let queues = Queue::ALL
        .into_iter()
        .flat_map(|queue| ["dead-letters", "old-message"].map(|suffix| format!("{}-{suffix}", queue.name())));
    let stages = STAGES.iter().filter(|(stage, _)| *stage != "serve").map(|(stage, _)| format!("{stage}-errors"));
    let suffixes = single.map(str::to_owned).into_iter().chain(queues).chain(stages);
    suffixes.map(|suffix| format!("{repository}-{suffix}")).collect()
}

/// What is in alarm, what isn't there, and whether anybody would be told.
pub fn alarms(repository: &str, alarms: &[MetricAlarm]) -> Vec<Finding> {
    let mut found = Vec::new();
    let by_name: BTreeMap<&str, &MetricAlarm> =
        alarms.iter().filter_map(|alarm| Some((alarm.alarm_name.as_deref()?, alarm))).collect();
    let names = alarm_names(repository);
    for name in &names {
        let what = format!("the alarm {name}");
        match by_name.get(name.as_str()) {
            None => {
                let advice = "deploy again (docs/deploy.md#update)";
                found.push(Finding::warning(Code::Alarms, what, "it doesn't exist: nobody would be told", advice));
            }
            Some(alarm) if alarm.state_value == Some(StateValue::Alarm) => {
                let described = alarm.alarm_description.as_deref().unwrap_or_default();
                let (why, runbook) = described.rsplit_once(": ").unwrap_or((described, "docs/operations.md#alarms"));
                found.push(Finding::problem(Code::Alarms, what, why, format!("its runbook is {runbook}")));
            }
            Some(_) => {}
        }
    }
    let is_told = |alarm: &&MetricAlarm| {
        alarm.actions_enabled != Some(false) && alarm.alarm_actions.as_ref().is_some_and(|actions| !actions.is_empty())
    };
    if !alarms.is_empty() && !alarms.iter().any(|alarm| is_told(&alarm)) {
        let advice = "name an SNS topic: -c alarmTopic=ARN (docs/deploy.md#be-told)";
        found.push(Finding::warning(Code::Alarms, "the alarms", "nobody is told when one is raised", advice));
    }
    found
}

/// The room on the disk of the data folder, in bytes.
pub fn space(folder: &str, free: u64) -> Finding {
    let why = format!("{} free", text::bytes(free));
    let advice = "make room, then all goes on by itself";
    match free {
        free if free < KEPT_FREE => {
            let why = format!("{why}: no upload is taken in, and soon nothing can be renewed");
            Finding::problem(Code::Space, folder, why, advice)
        }
        free if free < ROOM_FOR_UPLOADS => Finding::warning(Code::Space, folder, why, advice),
        _ => Finding::ok(Code::Space, folder, why),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Severity;
    use super::*;
    use serde_json::json;

    fn at(seconds: u64) -> Time {
        time::after("2026-11-30T00:00:00Z".parse().unwrap(), seconds)
    }

    fn states(findings: &[Option<Finding>]) -> Vec<Option<Severity>> {
        findings.iter().map(|finding| finding.as_ref().map(|finding| finding.state)).collect()
    }

    const PROBLEM: Option<Severity> = Some(Severity::Problem);
    const WARNING: Option<Severity> = Some(Severity::Warning);

    #[test]
    fn a_clock_is_right_or_wrong_or_too_wrong_on_either_side() {
        for (ours, theirs, state, side) in [
            (1000, 1000, Severity::Ok, ""),
            (1030, 1000, Severity::Ok, ""),
            (1031, 1000, Severity::Warning, "31 s ahead of"),
            (1000, 1299, Severity::Warning, "299 s behind"),
            (1000, 1300, Severity::Problem, "300 s behind"),
            (9000, 1000, Severity::Problem, "8000 s ahead of"),
        ] {
            let found = clock(at(ours), at(theirs));
            assert!(found.state == state && found.why.contains(side), "{ours} {theirs}: {found:?}");
        }
    }

    #[test]
    fn a_version_is_the_same_or_another_or_unknown() {
        let state = |deployed| version(deployed, "1.2.0").state;
        assert_eq!(
            [state(Some("1.2.0")), state(Some("1.1.0")), state(None)],
            [Severity::Ok, Severity::Warning, Severity::Unchecked]
        );
    }

    #[test]
    fn a_new_accounts_concurrency_is_too_little() {
        assert_eq!(concurrency(1000, Some(1000)).why, "1000 at once in this region");
        assert_eq!(concurrency(1000, Some(996)).why, "1000 at once in this region, 996 of them for whichever comes");
        let new = concurrency(10, Some(10));
        assert!(new.state == Severity::Warning && new.advice.unwrap().contains("L-B99A9384"));
    }

    #[test]
    fn a_function_runs_unless_it_is_stopped_or_broken() {
        let seen = |state: &str, update: &str, reserved| {
            let (state, update) = (Some(state.into()), Some(update.into()));
            function("f", &FunctionStatus { state, update, reserved, ..FunctionStatus::default() })
        };
        let found = [
            function("f", &FunctionStatus::default()),
            seen("Active", "Successful", Some(1)),
            seen("Inactive", "Successful", None),
            seen("Pending", "Successful", None),
            seen("Failed", "Successful", None),
            seen("Active", "InProgress", None),
            seen("Active", "Failed", None),
            seen("Active", "Successful", Some(0)),
        ];
        assert_eq!(states(&found), [None, None, None, WARNING, PROBLEM, WARNING, PROBLEM, PROBLEM]);
        assert_eq!(states(&[recursion("f", true), recursion("f", false)]), [None, PROBLEM]);
    }

    #[test]
    fn a_queue_needs_one_mapping_that_works() {
        let of = |state: &str, result: Option<&str>| Trigger {
            uuid: "u".into(),
            state: state.into(),
            result: result.map(str::to_owned),
        };
        let one = |state, result| trigger("q", "f", &[of(state, result)]);
        let found = [
            one("Enabled", None),
            one("Enabled", Some("No records processed")),
            trigger("q", "f", &[of("Disabled", None), of("Enabled", None)]),
            one("Updating", None),
            one("Enabled", Some("PROBLEM: Function call failed")),
            one("Disabled", None),
            one("Disabling", None),
            trigger("q", "f", &[]),
        ];
        assert_eq!(states(&found), [None, None, None, WARNING, PROBLEM, PROBLEM, PROBLEM, PROBLEM]);
        assert!(one("Disabled", None).unwrap().advice.unwrap().contains("--uuid u --enabled"));
    }

    #[test]
    fn refresh_needs_one_schedule_that_is_enabled() {
        let of = |state| ("s".to_owned(), Some(state));
        assert_eq!(schedule("f", &[of(ScheduleState::Disabled), of(ScheduleState::Enabled)]).state, Severity::Ok);
        assert_eq!(schedule("f", &[of(ScheduleState::Disabled)]).state, Severity::Problem);
        assert_eq!(schedule("f", &[("s".into(), None)]).state, Severity::Problem);
        assert_eq!(schedule("f", &[]).state, Severity::Problem);
    }

    #[test]
    fn a_bucket_keeps_versions_and_is_closed() {
        let found = [
            versioning("b", Some(&BucketVersioningStatus::Enabled)),
            versioning("b", Some(&BucketVersioningStatus::Suspended)),
            versioning("b", None),
        ];
        assert_eq!(states(&found), [None, PROBLEM, PROBLEM]);
        let block = || {
            let block = PublicAccessBlockConfiguration::builder().block_public_acls(true).ignore_public_acls(true);
            block.block_public_policy(true)
        };
        let closed = block().restrict_public_buckets(true).build();
        let found =
            [public_access("b", Some(&closed)), public_access("b", Some(&block().build())), public_access("b", None)];
        assert_eq!(states(&found), [None, PROBLEM, PROBLEM]);
        assert!(found[1].as_ref().unwrap().why.contains("(RestrictPublicBuckets)"));
    }

    #[test]
    fn a_key_signs_while_it_is_enabled_and_of_the_right_kind() {
        let of = |state: KeyState, spec: KeySpec| {
            let key = KeyMetadata::builder().key_id("k").key_usage(KeyUsageType::SignVerify).key_spec(spec);
            key.key_state(state).build().unwrap()
        };
        let p256 = |state| of(state, KeySpec::EccNistP256);
        let found = [
            key("bins", "k", &p256(KeyState::Enabled), false),
            key("bins", "k", &p256(KeyState::Disabled), true),
            key("bins", "k", &p256(KeyState::Disabled), false),
            key("bins", "k", &p256(KeyState::PendingDeletion), false),
            key("bins", "k", &p256(KeyState::Unavailable), false),
            key("bins", "k", &of(KeyState::Enabled, KeySpec::Rsa2048), true),
        ];
        assert_eq!(states(&found), [None, WARNING, PROBLEM, PROBLEM, PROBLEM, PROBLEM]);
        assert_eq!(day(1_796_083_200), "2026-12-01");
    }

    #[test]
    fn nobody_signs_but_who_has_to() {
        let policy = |signers: &[&str]| {
            let sign = json!({"Effect": "Allow", "Action": "kms:Sign", "Principal": {"AWS": signers}});
            json!({"Statement": [sign]}).to_string()
        };
        let expected = BTreeSet::from(["arn:sign".to_owned()]);
        let found = |policy: &str, grants: &[GrantListEntry]| {
            let found = key_policy("bins", "k", policy, grants, &expected);
            found.into_iter().map(|finding| finding.why).collect::<Vec<String>>()
        };
        let grant = |operation| {
            let grant = GrantListEntry::builder().grant_id("g").grantee_principal("arn:thief");
            grant.operations(operation).build()
        };
        assert_eq!(found(&policy(&["arn:sign"]), &[grant(GrantOperation::GetPublicKey)]), [""; 0]);
        assert_eq!(found(&policy(&["arn:sign", "arn:thief"]), &[]), ["arn:thief may sign with it"]);
        assert_eq!(
            found(&policy(&["arn:sign"]), &[grant(GrantOperation::Sign)]),
            ["a grant lets arn:thief sign with it"]
        );
        assert_eq!(found(&policy(&[]), &[]), ["arn:sign may not sign with it, and has to"]);
        assert_eq!(found("", &[]).len(), 1);
    }

    #[test]
    fn alarms_are_all_there_and_quiet_and_heard() {
        let alarm = |name: &String| {
            let alarm = MetricAlarm::builder().alarm_name(name).alarm_actions("arn:topic");
            alarm.alarm_description("It lags: docs/operations.md#alarm-lag")
        };
        let names = alarm_names("T");
        assert!(names.len() == 25 && names.contains(&"T-sign-errors".to_owned()), "{names:?}");
        let all: Vec<MetricAlarm> = names.iter().map(|name| alarm(name).build()).collect();
        assert_eq!(alarms("T", &all), []);
        let mut raised = all.clone();
        raised[0] = alarm(&names[0]).state_value(StateValue::Alarm).build();
        let found = alarms("T", &raised);
        assert_eq!((found.len(), found[0].state, &*found[0].why), (1, Severity::Problem, "It lags"));
        assert_eq!(found[0].advice.as_deref(), Some("its runbook is docs/operations.md#alarm-lag"));
        assert_eq!(alarms("T", &all[1..])[0].state, Severity::Warning, "one is missing");
        let unheard: Vec<MetricAlarm> =
            names.iter().map(|name| MetricAlarm::builder().alarm_name(name).build()).collect();
        assert_eq!(alarms("T", &unheard).len(), 1, "nobody is told");
    }

    #[test]
    fn letters_and_room_are_counted() {
        assert_eq!(states(&[dead_letters("q", 0), dead_letters("q", 1)]), [None, PROBLEM]);
        let state = |free| space("d", free).state;
        assert_eq!(
            [state(1 << 31), state(1 << 29), state(1 << 20)],
            [Severity::Ok, Severity::Warning, Severity::Problem]
        );
    }
}
