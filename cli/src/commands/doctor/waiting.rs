//! What `tufline status` would have somebody look at: its reasons as they are, each with what to do.

use super::report::{Code, Finding, together};
use crate::health::{About, Reason};

/// All of them, in the order of the checks, and what was `unread`; `in_folder` in the embedded form, which has checks of its own.
pub fn findings(reasons: &[Reason], unread: Vec<Finding>, in_folder: bool) -> Vec<Finding> {
    let of =
        |code| -> Vec<Finding> { reasons.iter().filter(|reason| code_of(reason.about) == code).map(finding).collect() };
    let mut findings = Vec::new();
    if in_folder {
        findings.extend(together(
            Code::Clock,
            "this machine's clock",
            "not behind what it signed last",
            of(Code::Clock),
        ));
        findings.extend(together(Code::Troubles, "its process", "it fails at nothing", of(Code::Troubles)));
    }
    let waiting = [of(Code::Waiting), unread].concat();
    findings.extend(together(Code::Waiting, "the repository", "nothing waits for an operator", waiting));
    findings
}

/// The check to which it belongs.
fn code_of(about: About) -> Code {
    match about {
        About::Expiry | About::TimestampExpiry | About::PartyExpiry | About::RootExpiry | About::RootIsDue => {
            Code::Expiry
        }
        About::Clock => Code::Clock,
        About::Trouble => Code::Troubles,
        About::DeadLetters => Code::DeadLetters,
        About::Damage
        | About::NotRunning
        | About::Lag
        | About::RefusedGeneration
        | About::HeldRemovals
        | About::IgnoredRoot => Code::Waiting,
    }
}

/// One of them.
pub fn finding(reason: &Reason) -> Finding {
    let Reason { about, text, detail } = reason;
    let why = detail.as_ref().map_or_else(|| text.clone(), |detail| format!("{text}: {detail}"));
    let advice = match about {
        About::Damage => {
            "devices need it: bring it back from a backup, or from its older object versions (docs/operations.md#when-something-was-lost)"
        }
        About::Expiry => "look why it isn't renewed: docs/operations.md#alarm-role-expires",
        About::TimestampExpiry => "look why refresh doesn't renew it: docs/operations.md#alarm-timestamp-expires",
        About::PartyExpiry => "ask that party to deliver the next one: docs/delegations.md",
        About::RootExpiry | About::RootIsDue => {
            "call the root's holders together and publish the next one: docs/keys.md"
        }
        About::NotRunning => "start `tufline local`",
        About::Clock => "set it right (docs/operations.md#the-clock)",
        About::Trouble => "the reason says it (docs/embedded.md#when-something-around-it-fails)",
        About::Lag => "see which stage it waits for: docs/operations.md#alarm-publication-lag",
        About::RefusedGeneration => "see what the reason says: docs/operations.md#alarm-gate-refusal",
        About::HeldRemovals => "bring the files back, or run `tufline accept-removals` (docs/uploads.md)",
        About::DeadLetters => "look at the log of its function: docs/operations.md#alarm-dead-letters",
        About::IgnoredRoot => {
            "somebody may write there who shouldn't: docs/keys.md#something-lies-where-a-root-belongs-and-is-none"
        }
    };
    let make = if *about == About::RootIsDue { Finding::warning } else { Finding::problem };
    make(code_of(*about), "the repository", why, advice)
}

#[cfg(test)]
mod tests {
    use super::super::report::Severity;
    use super::*;

    #[test]
    fn each_reason_is_told_once_by_its_check_with_its_detail_and_what_to_do() {
        let reason = |about, text: &str| Reason { about, text: text.into(), detail: Some("why".into()) };
        let reasons = [
            reason(About::Damage, "damage"),
            reason(About::Clock, "clock"),
            reason(About::Trouble, "trouble"),
            reason(About::HeldRemovals, "held"),
            // The check of expiries has it, which knows what devices see too.
            reason(About::Expiry, "expiry"),
        ];
        let told = |in_folder| {
            let told = findings(&reasons, Vec::new(), in_folder).into_iter();
            told.map(|found| (found.code, found.why)).collect::<Vec<_>>()
        };
        let waiting = [(Code::Waiting, "damage: why".to_owned()), (Code::Waiting, "held: why".to_owned())];
        assert_eq!(told(false), waiting);
        let process = [(Code::Clock, "clock: why".to_owned()), (Code::Troubles, "trouble: why".to_owned())];
        assert_eq!(told(true), [process, waiting].concat());
        assert!(findings(&[], Vec::new(), true).iter().all(|found| found.state == Severity::Ok));
    }

    #[test]
    fn only_a_root_that_has_time_left_is_no_problem_yet() {
        let state = |about| finding(&Reason { about, text: "text".into(), detail: None }).state;
        assert_eq!(state(About::RootIsDue), Severity::Warning);
        for about in [About::RootExpiry, About::TimestampExpiry, About::PartyExpiry, About::Expiry, About::Damage] {
            assert_eq!(state(about), Severity::Problem);
        }
    }
}
