//! This machine: its clock, its version of the command line, its disk.

use tufline_folder::KEPT_FREE;
use tufline_tuf::{Time, time};

use crate::commands::doctor::report::{Code, Finding};
use crate::text;

/// AWS refuses a request that was signed more than five minutes before or after it arrives
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>).
const REFUSED_SKEW_SECONDS: u64 = 5 * 60;

/// A clock that is kept right (by NTP) is never further off than this.
const USUAL_SKEW_SECONDS: u64 = 30;

/// Below this much free space, in bytes, the disk will soon take no more uploads.
const ROOM_FOR_UPLOADS: u64 = 1 << 30;

/// Compares this machine's clock with the `Date` of AWS's answer (RFC 9110, section 6.6.1: whole
/// seconds).
pub fn judge_clock(ours: Time, theirs: Time) -> Finding {
    let (what, skew) = ("this machine's clock", time::seconds_between(theirs, ours));
    let seconds = skew.unsigned_abs();
    let side = if skew < 0 { "behind" } else { "ahead of" };
    let why = format!("{seconds} s {side} AWS's");
    let advice = "set it by NTP";
    match seconds {
        0..=USUAL_SKEW_SECONDS => Finding::ok(Code::Clock, what, "right to within 30 s of AWS's"),
        seconds if seconds < REFUSED_SKEW_SECONDS => {
            Finding::warning(Code::Clock, what, why, advice)
        }
        _ => {
            let why = format!("{why}: AWS refuses requests signed by such a clock");
            Finding::problem(Code::Clock, what, why, advice)
        }
    }
}

/// Compares the deployed version with this command line's.
pub fn judge_version(deployed: Option<&str>, ours: &str) -> Finding {
    let what = format!("this command line, {ours}");
    match deployed {
        Some(deployed) if deployed == ours => {
            Finding::ok(Code::Version, what, "the version that is deployed")
        }
        Some(deployed) => {
            let why = format!("{deployed} is deployed");
            let advice = format!(
                "use the command line of {deployed}, or deploy {ours} (docs/deploy.md#update)"
            );
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

/// Whether the disk of the data folder has room; `free` is in bytes.
pub fn judge_space(folder: &str, free: u64) -> Finding {
    let why = format!("{} free", text::bytes(free));
    let advice = "free some space; everything then goes on by itself";
    match free {
        free if free < KEPT_FREE => {
            let why = format!("{why}: uploads are not accepted, and soon nothing can be renewed");
            Finding::problem(Code::Space, folder, why, advice)
        }
        free if free < ROOM_FOR_UPLOADS => Finding::warning(Code::Space, folder, why, advice),
        _ => Finding::ok(Code::Space, folder, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::report::Severity;

    fn at(seconds: u64) -> Time {
        time::after("2026-11-30T00:00:00Z".parse().unwrap(), seconds)
    }

    #[test]
    fn a_clock_is_right_off_or_too_far_off_on_either_side() {
        for (ours, theirs, state, side) in [
            (1000, 1000, Severity::Ok, ""),
            (1030, 1000, Severity::Ok, ""),
            (1031, 1000, Severity::Warning, "31 s ahead of"),
            (1000, 1299, Severity::Warning, "299 s behind"),
            (1000, 1300, Severity::Problem, "300 s behind"),
            (9000, 1000, Severity::Problem, "8000 s ahead of"),
        ] {
            let found = judge_clock(at(ours), at(theirs));
            assert!(found.state == state && found.why.contains(side), "{ours} {theirs}: {found:?}");
        }
    }

    #[test]
    fn a_version_is_the_same_or_another_or_unknown() {
        let state = |deployed| judge_version(deployed, "1.2.0").state;
        assert_eq!(
            [state(Some("1.2.0")), state(Some("1.1.0")), state(None)],
            [Severity::Ok, Severity::Warning, Severity::Unchecked]
        );
    }

    #[test]
    fn little_free_space_is_a_warning_and_then_a_problem() {
        let state = |free| judge_space("d", free).state;
        assert_eq!(
            [state(1 << 31), state(1 << 29), state(1 << 20)],
            [Severity::Ok, Severity::Warning, Severity::Problem]
        );
    }
}
