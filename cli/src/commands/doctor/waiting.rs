//! The reasons for attention of `tufline status` as findings, each with advice.

use super::report::{Code, Finding, together};
use crate::health::{About, Reason};

/// The findings for all reasons, in the order of the checks, with those for what could not be read
/// (`unread`). The embedded form (`in_folder`) has two more checks.
pub fn findings(reasons: &[Reason], unread: Vec<Finding>, in_folder: bool) -> Vec<Finding> {
    let of = |code| -> Vec<Finding> {
        reasons.iter().filter(|reason| code_of(reason.about) == code).map(finding).collect()
    };
    let mut findings = Vec::new();
    if in_folder {
        findings.extend(together(
            Code::Clock,
            "this machine's clock",
            "not behind its last signature",
            of(Code::Clock),
        ));
        findings.extend(together(
            Code::Troubles,
            "its process",
            "it reports no failures",
            of(Code::Troubles),
        ));
    }
    let waiting = [of(Code::Waiting), unread].concat();
    findings.extend(together(
        Code::Waiting,
        "the repository",
        "nothing waits for an operator",
        waiting,
    ));
    findings
}

/// The check to which a reason belongs.
fn code_of(about: About) -> Code {
    match about {
        About::Expiry
        | About::TimestampExpiry
        | About::PartyExpiry
        | About::RootExpiry
        | About::RootIsDue => Code::Expiry,
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

/// The finding for one reason.
pub fn finding(reason: &Reason) -> Finding {
    let Reason { about, text, detail } = reason;
    let why = detail.as_ref().map_or_else(|| text.clone(), |detail| format!("{text}: {detail}"));
    let advice = match about {
        About::Damage => {
            "devices need it: restore it from a backup, or from its older object versions \
             (docs/operations.md#when-something-was-lost)"
        }
        About::Expiry => "find out why it isn't renewed: docs/operations.md#alarm-role-expires",
        About::TimestampExpiry => {
            "find out why refresh doesn't renew it: docs/operations.md#alarm-timestamp-expires"
        }
        About::PartyExpiry => "ask that party to deliver the next version: docs/delegations.md",
        About::RootExpiry | About::RootIsDue => {
            "have the root's holders sign the next root, and publish it: docs/keys.md"
        }
        About::NotRunning => "start `tufline local`",
        About::Clock => "set it right (docs/operations.md#the-clock)",
        About::Trouble => "see the reason (docs/embedded.md#when-something-around-it-fails)",
        About::Lag => "see which stage is behind: docs/operations.md#alarm-publication-lag",
        About::RefusedGeneration => "see the reason: docs/operations.md#alarm-gate-refusal",
        About::HeldRemovals => {
            "restore the files, or run `tufline accept-removals` (docs/uploads.md)"
        }
        About::DeadLetters => {
            "look at the log of its function: docs/operations.md#alarm-dead-letters"
        }
        About::IgnoredRoot => {
            "somebody may write there who shouldn't: \
             docs/keys.md#something-lies-where-a-root-belongs-and-is-none"
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
    fn each_reason_is_reported_once_by_its_check_with_its_detail_and_advice() {
        let reason =
            |about, text: &str| Reason { about, text: text.into(), detail: Some("why".into()) };
        let reasons = [
            reason(About::Damage, "damage"),
            reason(About::Clock, "clock"),
            reason(About::Trouble, "trouble"),
            reason(About::HeldRemovals, "held"),
            // The check of expiries reports it, since it also knows what devices see.
            reason(About::Expiry, "expiry"),
        ];
        let told = |in_folder| {
            let told = findings(&reasons, Vec::new(), in_folder).into_iter();
            told.map(|found| (found.code, found.why)).collect::<Vec<_>>()
        };
        let waiting =
            [(Code::Waiting, "damage: why".to_owned()), (Code::Waiting, "held: why".to_owned())];
        assert_eq!(told(false), waiting);
        let process =
            [(Code::Clock, "clock: why".to_owned()), (Code::Troubles, "trouble: why".to_owned())];
        assert_eq!(told(true), [process, waiting].concat());
        assert!(findings(&[], Vec::new(), true).iter().all(|found| found.state == Severity::Ok));
    }

    #[test]
    fn only_a_root_with_time_left_is_a_warning() {
        let state = |about| finding(&Reason { about, text: "text".into(), detail: None }).state;
        assert_eq!(state(About::RootIsDue), Severity::Warning);
        for about in [
            About::RootExpiry,
            About::TimestampExpiry,
            About::PartyExpiry,
            About::Expiry,
            About::Damage,
        ] {
            assert_eq!(state(about), Severity::Problem);
        }
    }
}
