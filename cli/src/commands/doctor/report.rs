//! What was found, for people and for programs.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{terminal, text};

/// The check that made a finding. The codes are stable: programs may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The AWS region of the deployment.
    Region,
    /// The AWS identity that runs the checks.
    SignIn,
    /// The machine's clock.
    Clock,
    /// Whether the deployment is found and can be opened.
    Deployment,
    /// Whether this command line fits the deployed version.
    Version,
    /// How many functions may run at once.
    Concurrency,
    /// Whether each function can run.
    Functions,
    /// Whether Lambda lets the functions call each other without a limit.
    Recursion,
    /// The event source mapping of each queue.
    Triggers,
    /// The schedule that wakes refresh.
    Schedule,
    /// The buckets' versioning.
    Versioning,
    /// Whether the buckets are closed to the public.
    PublicAccess,
    /// The online keys' states.
    Keys,
    /// Who may sign with them.
    KeyPolicies,
    /// Messages that failed too often.
    DeadLetters,
    /// Alarms that are raised or missing, or that notify nobody.
    Alarms,
    /// Whether a device can update.
    Devices,
    /// How long the roles' documents are still valid.
    Expiry,
    /// The data folder of the embedded form.
    Data,
    /// The room on its disk.
    Space,
    /// The uploads folder of the embedded form.
    Uploads,
    /// Failures that the embedded form's process reports.
    Troubles,
    /// What waits for an operator.
    Waiting,
    /// The trial artifact of `--try`.
    Trial,
}

impl Code {
    fn name(self) -> String {
        json!(self).as_str().unwrap_or_default().to_owned()
    }
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, but perhaps not for long, or not under load.
    Warning,
    /// Something doesn't work, or isn't safe.
    Problem,
    /// The check could not be made.
    Unchecked,
}

/// A check's result, with its reason and advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub code: Code,
    pub state: Severity,
    /// The thing that was checked, such as `the bucket NAME`.
    pub what: String,
    /// What the check found out about it.
    pub why: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    pub fn ok(code: Code, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { code, state: Severity::Ok, what: what.into(), why: why.into(), advice: None }
    }

    pub fn warning(
        code: Code,
        what: impl Into<String>,
        why: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            code,
            state: Severity::Warning,
            what: what.into(),
            why: why.into(),
            advice: Some(advice.into()),
        }
    }

    pub fn problem(
        code: Code,
        what: impl Into<String>,
        why: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            code,
            state: Severity::Problem,
            what: what.into(),
            why: why.into(),
            advice: Some(advice.into()),
        }
    }

    /// The check could not be made, because of `why`.
    pub fn unchecked(
        code: Code,
        what: impl Into<String>,
        why: &str,
        advice: impl Into<String>,
    ) -> Self {
        let why = format!("could not be checked: {why}");
        Self {
            code,
            state: Severity::Unchecked,
            what: what.into(),
            why,
            advice: Some(advice.into()),
        }
    }

    fn line(&self) -> String {
        let state = match self.state {
            Severity::Ok => "ok",
            Severity::Warning => "WARNING",
            Severity::Problem => "PROBLEM",
            Severity::Unchecked => "unchecked",
        };
        let Self { code, what, why, .. } = self;
        let advice = self.advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
        format!("{state:<9}  {:<13} {what}: {why}{advice}", code.name())
    }
}

/// The findings about things of one kind, made short: one "ok" line if nothing is wrong with any of
/// them, and one line for all that could not be checked for the same reason.
pub fn together(code: Code, all: &str, why: &str, wrong: Vec<Finding>) -> Vec<Finding> {
    if wrong.is_empty() {
        return vec![Finding::ok(code, all, why)];
    }
    let alike =
        |one: &Finding, other: &Finding| other.state == Severity::Unchecked && one.why == other.why;
    let mut told: Vec<(Finding, u64)> = Vec::new();
    for finding in wrong {
        match told.iter_mut().find(|(one, _)| alike(one, &finding)) {
            Some((_, more)) => *more += 1,
            None => told.push((finding, 0)),
        }
    }
    let with_more = |(finding, more): (Finding, u64)| match more {
        0 => finding,
        more => Finding { what: format!("{}, and {more} more", finding.what), ..finding },
    };
    told.into_iter().map(with_more).collect()
}

/// All findings, in the order in which they were made.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    checks: Vec<Finding>,
}

impl Report {
    pub fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.checks.extend(findings);
    }

    /// How many findings have this severity.
    pub fn count(&self, state: Severity) -> u64 {
        self.checks.iter().filter(|finding| finding.state == state).count() as u64
    }

    pub fn print(&self, as_json: bool) {
        if as_json {
            terminal::json(&self.json());
            return;
        }
        for finding in &self.checks {
            terminal::line(&finding.line());
        }
    }

    /// `{"checks": […], "problems": …, "warnings": …, "unchecked": …}`.
    fn json(&self) -> Value {
        let mut json = json!(self);
        for (name, state) in [
            ("problems", Severity::Problem),
            ("warnings", Severity::Warning),
            ("unchecked", Severity::Unchecked),
        ] {
            json[name] = self.count(state).into();
        }
        json
    }

    /// The number of problems, warnings and unchecked items, in one line.
    pub fn summary(&self) -> String {
        let count = |state, thing| text::count(self.count(state), thing);
        format!(
            "{}, {}, {} not checked",
            count(Severity::Problem, "problem"),
            count(Severity::Warning, "warning"),
            self.count(Severity::Unchecked)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_and_why_and_what_to_do_and_json_says_the_same() {
        let mut report = Report::default();
        report.add([
            Finding::ok(Code::Region, "eu-central-1", "set"),
            Finding::problem(Code::DeadLetters, "the queue sign", "3 messages", "look"),
            Finding::unchecked(
                Code::KeyPolicies,
                "the key",
                "it needs kms:GetKeyPolicy",
                "allow it",
            ),
            Finding::warning(Code::Alarms, "all", "nobody is told", "name a topic"),
        ]);
        let lines: Vec<String> = report.checks.iter().map(Finding::line).collect();
        assert_eq!(
            lines,
            [
                "ok         region        eu-central-1: set",
                "PROBLEM    dead-letters  the queue sign: 3 messages; look",
                "unchecked  key-policies  the key: could not be checked: it needs \
                 kms:GetKeyPolicy; allow it",
                "WARNING    alarms        all: nobody is told; name a topic",
            ]
        );
        assert_eq!(report.summary(), "1 problem, 1 warning, 1 not checked");
        assert_eq!(
            report.json(),
            json!({
                "checks": [
                    {"code": "region", "state": "ok", "what": "eu-central-1", "why": "set"},
                    {"code": "dead-letters", "state": "problem", "what": "the queue sign", "why": "3 messages", "advice": "look"},
                    {"code": "key-policies", "state": "unchecked", "what": "the key",
                     "why": "could not be checked: it needs kms:GetKeyPolicy", "advice": "allow it"},
                    {"code": "alarms", "state": "warning", "what": "all", "why": "nobody is told", "advice": "name a topic"},
                ],
                "problems": 1, "warnings": 1, "unchecked": 1,
            })
        );
    }

    #[test]
    fn things_of_one_kind_are_one_line_if_nothing_is_wrong_with_them() {
        let wrong = vec![
            Finding::problem(Code::Keys, "a", "b", "c"),
            Finding::problem(Code::Keys, "d", "e", "f"),
        ];
        assert_eq!(
            together(Code::Keys, "all", "enabled", vec![]),
            [Finding::ok(Code::Keys, "all", "enabled")]
        );
        assert_eq!(together(Code::Keys, "all", "enabled", wrong.clone()), wrong);
        let unchecked = |what: &str, why| Finding::unchecked(Code::Keys, what, why, "c");
        let denied = vec![
            unchecked("a", "denied"),
            unchecked("b", "late"),
            unchecked("d", "denied"),
            wrong[0].clone(),
        ];
        let told = [unchecked("a, and 1 more", "denied"), unchecked("b", "late"), wrong[0].clone()];
        assert_eq!(together(Code::Keys, "all", "enabled", denied), told);
    }
}
