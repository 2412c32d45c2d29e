//! The alarms, and the messages in dead-letter queues.

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::types::{MetricAlarm, StateValue};
use tufline_store::Queue;

use super::functions::{ASKED_BY_DEVICES, CHUNK, STAGES};
use crate::commands::doctor::report::{Code, Finding};
use crate::text;

/// A problem if the dead-letter queue of `queue` holds messages.
pub fn judge_dead_letters(queue: &str, count: u64) -> Option<Finding> {
    (count > 0).then(|| {
        let why = text::count(count, "dead letter");
        let advice = if queue == CHUNK {
            "look at the log of its function, then run `tufline chunk` and purge them \
             (docs/operations.md#alarm-chunk)"
        } else {
            "look at the log of its function; readable messages come back by themselves \
             (docs/operations.md#alarm-dead-letters)"
        };
        Finding::problem(Code::DeadLetters, format!("the queue {queue}"), why, advice)
    })
}

/// The names of a repository's alarms (`cdk/lib/alarms.ts`); `chunks` says whether it cuts targets
/// into chunks.
pub fn alarm_names(repository: &str, chunks: bool) -> Vec<String> {
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
    let queues = Queue::ALL.into_iter().flat_map(|queue| {
        ["dead-letters", "old-message"].map(|suffix| format!("{}-{suffix}", queue.name()))
    });
    let stages = STAGES.iter().filter(|(stage, _)| !ASKED_BY_DEVICES.contains(stage));
    let stages = stages.map(|(stage, _)| format!("{stage}-errors"));
    let chunk = chunks.then(|| format!("{CHUNK}-dead-letters"));
    let suffixes = single.map(str::to_owned).into_iter().chain(queues).chain(stages).chain(chunk);
    suffixes.map(|suffix| format!("{repository}-{suffix}")).collect()
}

/// Which alarms are raised, which are missing, and whether an alarm notifies anybody.
///
/// `names` are those of [`alarm_names`].
pub fn judge_alarms(names: &[String], alarms: &[MetricAlarm]) -> Vec<Finding> {
    let mut found = Vec::new();
    let by_name: BTreeMap<&str, &MetricAlarm> =
        alarms.iter().filter_map(|alarm| Some((alarm.alarm_name.as_deref()?, alarm))).collect();
    for name in names {
        let what = format!("the alarm {name}");
        match by_name.get(name.as_str()) {
            None => {
                let advice = "deploy again (docs/deploy.md#update)";
                found.push(Finding::warning(
                    Code::Alarms,
                    what,
                    "it doesn't exist, so nobody would be notified",
                    advice,
                ));
            }
            Some(alarm) if alarm.state_value == Some(StateValue::Alarm) => {
                let described = alarm.alarm_description.as_deref().unwrap_or_default();
                let (why, runbook) =
                    described.rsplit_once(": ").unwrap_or((described, "docs/operations.md#alarms"));
                found.push(Finding::problem(
                    Code::Alarms,
                    what,
                    why,
                    format!("its runbook is {runbook}"),
                ));
            }
            Some(_) => {}
        }
    }
    let is_told = |alarm: &&MetricAlarm| {
        alarm.actions_enabled != Some(false)
            && alarm.alarm_actions.as_ref().is_some_and(|actions| !actions.is_empty())
    };
    if !alarms.is_empty() && !alarms.iter().any(|alarm| is_told(&alarm)) {
        let advice = "name an SNS topic: -c alarmTopic=ARN (docs/deploy-more.md#be-told)";
        found.push(Finding::warning(
            Code::Alarms,
            "the alarms",
            "nobody is notified when one is raised",
            advice,
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::checks::findings::{PROBLEM, states};
    use crate::commands::doctor::report::Severity;

    #[test]
    fn all_alarms_exist_are_quiet_and_notify_somebody() {
        let alarm = |name: &String| {
            let alarm = MetricAlarm::builder().alarm_name(name).alarm_actions("arn:topic");
            alarm.alarm_description("It lags: docs/operations.md#alarm-lag")
        };
        let names = alarm_names("T", true);
        assert!(names.len() == 26 && names.contains(&"T-sign-errors".to_owned()), "{names:?}");
        let all: Vec<MetricAlarm> = names.iter().map(|name| alarm(name).build()).collect();
        assert_eq!(judge_alarms(&names, &all), []);
        let mut raised = all.clone();
        raised[0] = alarm(&names[0]).state_value(StateValue::Alarm).build();
        let found = judge_alarms(&names, &raised);
        assert_eq!(
            (found.len(), found[0].state, &*found[0].why),
            (1, Severity::Problem, "It lags")
        );
        assert_eq!(found[0].advice.as_deref(), Some("its runbook is docs/operations.md#alarm-lag"));
        assert_eq!(judge_alarms(&names, &all[1..])[0].state, Severity::Warning, "one is missing");
        let unheard: Vec<MetricAlarm> =
            names.iter().map(|name| MetricAlarm::builder().alarm_name(name).build()).collect();
        assert_eq!(judge_alarms(&names, &unheard).len(), 1, "nobody is notified");
    }

    #[test]
    fn letters_are_counted() {
        assert_eq!(
            states(&[judge_dead_letters("q", 0), judge_dead_letters("q", 1)]),
            [None, PROBLEM]
        );
        let advice = judge_dead_letters(CHUNK, 1).unwrap().advice.unwrap();
        assert!(advice.contains("tufline chunk"), "{advice}");
    }
}
