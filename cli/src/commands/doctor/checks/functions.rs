//! The Lambda functions, and what invokes them.

use aws_sdk_scheduler::types::ScheduleState;
use tufline_store::Queue;

use crate::commands::doctor::report::{Code, Finding};

/// AWS's default limit; some new accounts get only ten
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const USUAL_CONCURRENCY: i32 = 1000;

/// The concurrency that a deployment needs: what all functions but those for devices may take at
/// once (`cdk/lib/functions.ts`: 50, 10, 2, 1, 1, and 2 runs of refresh), and as much again for
/// devices.
const ENOUGH_CONCURRENCY: i32 = 2 * 66;

/// The functions, each with the queue that it consumes.
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

/// The function that cuts targets into chunks, and its queue, where it was chosen.
pub const CHUNK: &str = "chunk";

/// The functions that answer devices: the API's own alarm covers their errors.
pub const ASKED_BY_DEVICES: [&str; 2] = ["serve", "pack"];

/// Judges how many functions may run at once in the account's region (`limit`); `unreserved` of
/// them are shared by all functions.
pub fn judge_concurrency(limit: i32, unreserved: Option<i32>) -> Finding {
    let what = "this account's Lambda functions";
    let left = unreserved
        .filter(|left| *left != limit)
        .map(|left| format!(", {left} of them not reserved"));
    let why = format!("{limit} at once in this region{}", left.unwrap_or_default());
    if limit >= ENOUGH_CONCURRENCY {
        return Finding::ok(Code::Concurrency, what, why);
    }
    let why = format!(
        "{why}, as in new accounts: a burst of uploads or devices takes all of it, and meanwhile \
         devices get errors"
    );
    let advice = format!(
        "ask for {USUAL_CONCURRENCY}, which AWS gives by default: `aws service-quotas \
         request-service-quota-increase --service-code lambda --quota-code L-B99A9384 \
         --desired-value {USUAL_CONCURRENCY}` \
         (docs/deploy-more.md#let-no-flood-keep-the-timestamp-from-being-renewed)"
    );
    Finding::warning(Code::Concurrency, what, why, advice)
}

/// What Lambda reports about a function.
#[derive(Debug, Clone, Default)]
pub struct FunctionStatus {
    /// `State`; `None` means active.
    pub state: Option<String>,
    /// `LastUpdateStatus`.
    pub update: Option<String>,
    /// Lambda's reason, if one of the two is not as it should be.
    pub reason: Option<String>,
    /// Its reserved concurrency.
    pub reserved: Option<i32>,
    /// Its role's ARN.
    pub role: Option<String>,
}

/// Whether a function can run
/// (<https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html>).
pub fn judge_function(name: &str, seen: &FunctionStatus) -> Option<Finding> {
    let what = format!("the function {name}");
    let reason = seen.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    if seen.reserved == Some(0) {
        let advice = format!(
            "let it run again: `aws lambda delete-function-concurrency --function-name {name}`"
        );
        return Some(Finding::problem(
            Code::Functions,
            what,
            "stopped by a reserved concurrency of 0",
            advice,
        ));
    }
    match seen.state.as_deref().unwrap_or("Active") {
        // Lambda reactivates an inactive function when it is invoked.
        "Active" | "Inactive" => {}
        "Pending" => {
            return Some(Finding::warning(
                Code::Functions,
                what,
                format!("Pending{reason}"),
                "look again in a minute",
            ));
        }
        state => {
            let advice = "fix what the reason names, and deploy again (docs/deploy.md#update)";
            return Some(Finding::problem(
                Code::Functions,
                what,
                format!("{state}{reason}"),
                advice,
            ));
        }
    }
    match seen.update.as_deref().unwrap_or("Successful") {
        "Successful" => None,
        "InProgress" => Some(Finding::warning(
            Code::Functions,
            what,
            "it is being updated",
            "look again in a minute",
        )),
        update => {
            let why =
                format!("its last update is {update}{reason}; it still runs the code from before");
            Some(Finding::problem(
                Code::Functions,
                what,
                why,
                "deploy again (docs/deploy.md#update)",
            ))
        }
    }
}

/// Whether Lambda lets a queue's function be invoked by messages that it sent itself
/// (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>).
pub fn judge_recursion(name: &str, is_allowed: bool) -> Option<Finding> {
    if is_allowed {
        return None;
    }
    let why = "Lambda stops a chain of about 16 of its calls, which stops large uploads and bursts";
    let advice = format!(
        "`aws lambda put-function-recursion-config --function-name {name} --recursive-loop Allow`"
    );
    Some(Finding::problem(Code::Recursion, format!("the function {name}"), why, advice))
}

/// An event source mapping of Lambda.
#[derive(Debug, Clone, Default)]
pub struct Trigger {
    /// Its id.
    pub uuid: String,
    /// `State`.
    pub state: String,
    /// `LastProcessingResult`.
    pub result: Option<String>,
}

/// Whether Lambda hands a queue's messages to its function
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_EventSourceMappingConfiguration.html>).
pub fn judge_trigger(queue: &str, function: &str, triggers: &[Trigger]) -> Option<Finding> {
    let what = format!("the queue {queue}");
    let Some(trigger) =
        triggers.iter().find(|trigger| trigger.state == "Enabled").or(triggers.first())
    else {
        let why = format!("nothing hands its messages to {function}");
        return Some(Finding::problem(
            Code::Triggers,
            what,
            why,
            "deploy again (docs/deploy.md#update)",
        ));
    };
    let Trigger { uuid, state, result } = trigger;
    match state.as_str() {
        "Enabled" => {
            let result = result.as_ref().filter(|result| result.starts_with("PROBLEM"))?;
            let advice = format!("look at the log of {function}, and at what its role may do");
            Some(Finding::problem(
                Code::Triggers,
                what,
                format!("handing over fails: {result}"),
                advice,
            ))
        }
        "Creating" | "Enabling" | "Updating" => {
            let why = format!("its event source mapping is {state}");
            Some(Finding::warning(Code::Triggers, what, why, "look again in a minute"))
        }
        _ => {
            let why = format!("its event source mapping is {state}: its messages wait");
            let advice =
                format!("`aws lambda update-event-source-mapping --uuid {uuid} --enabled`");
            Some(Finding::problem(Code::Triggers, what, why, advice))
        }
    }
}

/// Whether a schedule wakes refresh: `schedules` are those that invoke it, with their states.
pub fn judge_schedule(function: &str, schedules: &[(String, Option<ScheduleState>)]) -> Finding {
    let what = format!("the schedule of {function}");
    let stops = "nothing renews the timestamp, and devices refuse it once it has expired";
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
            "1000 at once in this region, 996 of them not reserved"
        );
        let new = judge_concurrency(10, Some(10));
        assert!(new.state == Severity::Warning && new.advice.unwrap().contains("L-B99A9384"));
    }

    #[test]
    fn a_function_runs_unless_it_is_stopped_or_broken() {
        let seen = |state: &str, update: &str, reserved| {
            let (state, update) = (Some(state.into()), Some(update.into()));
            judge_function(
                "f",
                &FunctionStatus { state, update, reserved, ..FunctionStatus::default() },
            )
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
        assert_eq!(
            states(&[judge_recursion("f", true), judge_recursion("f", false)]),
            [None, PROBLEM]
        );
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
        assert_eq!(
            judge_schedule("f", &[of(ScheduleState::Disabled), of(ScheduleState::Enabled)]).state,
            Severity::Ok
        );
        assert_eq!(judge_schedule("f", &[of(ScheduleState::Disabled)]).state, Severity::Problem);
        assert_eq!(judge_schedule("f", &[("s".into(), None)]).state, Severity::Problem);
        assert_eq!(judge_schedule("f", &[]).state, Severity::Problem);
    }
}
