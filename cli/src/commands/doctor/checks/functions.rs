//! The functions, and what calls them.

use aws_sdk_scheduler::types::ScheduleState;
use tufline_store::Queue;

use crate::commands::doctor::report::{Code, Finding};

/// What AWS gives by default; new accounts have less, some ten (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const USUAL_CONCURRENCY: i32 = 1000;

/// What all functions but those that devices ask may take at once (`cdk/lib/functions.ts`: 50, 10, 2, 1, 1, and 2 runs of refresh), with as much again for devices.
const ENOUGH_CONCURRENCY: i32 = 2 * 66;

/// The functions, each with the queue that it works off.
pub const STAGES: [(&str, Option<Queue>); 8] = [
    ("hash", Some(Queue::Uploads)),
    ("large", Some(Queue::Large)),
    ("rebuild", Some(Queue::Changes)),
    ("sign", Some(Queue::Sign)),
    ("publish", Some(Queue::Publish)),
    ("refresh", None),
    ("serve", None),
    ("pack", None),
];

/// Those that devices ask: what they fail at is the API's own alarm.
pub const ASKED_BY_DEVICES: [&str; 2] = ["serve", "pack"];

/// How many functions may run at once in the account's region, and how many of them no function has for itself.
pub fn judge_concurrency(limit: i32, unreserved: Option<i32>) -> Finding {
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
pub fn judge_function(name: &str, seen: &FunctionStatus) -> Option<Finding> {
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
pub fn judge_recursion(name: &str, is_allowed: bool) -> Option<Finding> {
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
pub fn judge_trigger(queue: &str, function: &str, triggers: &[Trigger]) -> Option<Finding> {
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
pub fn judge_schedule(function: &str, schedules: &[(String, Option<ScheduleState>)]) -> Finding {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::checks::findings::{PROBLEM, WARNING, states};
    use crate::commands::doctor::report::Severity;

    #[test]
    fn a_new_accounts_concurrency_is_too_little() {
        assert_eq!(judge_concurrency(1000, Some(1000)).why, "1000 at once in this region");
        assert_eq!(
            judge_concurrency(1000, Some(996)).why,
            "1000 at once in this region, 996 of them for whichever comes"
        );
        let new = judge_concurrency(10, Some(10));
        assert!(new.state == Severity::Warning && new.advice.unwrap().contains("L-B99A9384"));
    }

    #[test]
    fn a_function_runs_unless_it_is_stopped_or_broken() {
        let seen = |state: &str, update: &str, reserved| {
            let (state, update) = (Some(state.into()), Some(update.into()));
            judge_function("f", &FunctionStatus { state, update, reserved, ..FunctionStatus::default() })
        };
        let found = [
            judge_function("f", &FunctionStatus::default()),
            seen("Active", "Successful", Some(1)),
            seen("Inactive", "Successful", None),
            seen("Pending", "Successful", None),
            seen("Failed", "Successful", None),
            seen("Active", "InProgress", None),
            seen("Active", "Failed", None),
            seen("Active", "Successful", Some(0)),
        ];
        assert_eq!(states(&found), [None, None, None, WARNING, PROBLEM, WARNING, PROBLEM, PROBLEM]);
        assert_eq!(states(&[judge_recursion("f", true), judge_recursion("f", false)]), [None, PROBLEM]);
    }

    #[test]
    fn a_queue_needs_one_mapping_that_works() {
        let of = |state: &str, result: Option<&str>| Trigger {
            uuid: "u".into(),
            state: state.into(),
            result: result.map(str::to_owned),
        };
        let one = |state, result| judge_trigger("q", "f", &[of(state, result)]);
        let found = [
            one("Enabled", None),
            one("Enabled", Some("No records processed")),
            judge_trigger("q", "f", &[of("Disabled", None), of("Enabled", None)]),
            one("Updating", None),
            one("Enabled", Some("PROBLEM: Function call failed")),
            one("Disabled", None),
            one("Disabling", None),
            judge_trigger("q", "f", &[]),
        ];
        assert_eq!(states(&found), [None, None, None, WARNING, PROBLEM, PROBLEM, PROBLEM, PROBLEM]);
        assert!(one("Disabled", None).unwrap().advice.unwrap().contains("--uuid u --enabled"));
    }

    #[test]
    fn refresh_needs_one_schedule_that_is_enabled() {
        let of = |state| ("s".to_owned(), Some(state));
        assert_eq!(judge_schedule("f", &[of(ScheduleState::Disabled), of(ScheduleState::Enabled)]).state, Severity::Ok);
        assert_eq!(judge_schedule("f", &[of(ScheduleState::Disabled)]).state, Severity::Problem);
        assert_eq!(judge_schedule("f", &[("s".into(), None)]).state, Severity::Problem);
        assert_eq!(judge_schedule("f", &[]).state, Severity::Problem);
    }
}
