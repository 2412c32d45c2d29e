//! Why somebody should look at a repository now: for a cron job, the same as the alarms on AWS.
//!
//! Refused uploads are no reason: whoever uploaded was told, the records stay for ever, and nothing waits for an operator. A refused generation
//! is one until something newer is published: what was accepted isn't shown.

use tufline_pipeline::state::roots::IgnoredRoot;
use tufline_tuf::config::Expiry;
use tufline_tuf::time;

use super::collect::{Role, Status};
use crate::show;

/// The next root needs people with keys, at one table: four weeks, in seconds (`cdk/lib/alarms.ts`).
const ROOT_LEFT: i64 = 28 * 24 * 60 * 60;

/// Renewal begins at a half (timestamp) or a third of the lifetime: at a quarter it has failed for long (`cdk/lib/alarms.ts`).
const LEFT: i64 = 4;

/// A generation takes seconds from its making to its publication, and the largest burst a few minutes (`cdk/lib/alarms.ts`).
const LONGEST_LAG: i64 = 15 * 60;

/// All reasons, the worst first. `lifetimes` of documents where they are known.
pub fn attention(status: &Status, lifetimes: Option<&Expiry>) -> Vec<String> {
    let now = status.now;
    let mut reasons = Vec::new();
    reasons.extend(status.roles.iter().filter_map(|role| expiry(status, role, lifetimes)));
    if status.runs == Some(false) {
        reasons.push("no `tufline local` runs, so nothing is published or renewed".into());
    }
    if status.clock_behind.is_some() {
        reasons.push("the clock is behind".into());
    }
    reasons.extend(status.troubles.troubles.iter().map(|trouble| format!("{} fails", trouble.what)));
    if status.troubles.more > 0 {
        reasons.push(format!("{} more", show::count(status.troubles.more as u64, "failure")));
    }
    let waits = status.waiting.since.filter(|since| time::seconds_between(*since, now) >= LONGEST_LAG);
    reasons.extend(waits.map(|since| format!("what was made {} is not published", show::until(now, since))));
    reasons.extend(
        status.refused_generations.iter().map(|refused| format!("generation {} was refused", refused.generation)),
    );
    if !status.held_removals.is_empty() {
        reasons.push(format!("{} held", show::count(status.held_removals.len() as u64, "removal")));
    }
    reasons.extend(
        status
            .queues
            .iter()
            .flatten()
            .filter(|(_, depth)| depth.dead_letters > 0)
            .map(|(queue, depth)| format!("{} of {}", show::count(depth.dead_letters, "dead letter"), queue.name())),
    );
    reasons.extend(
        status
            .ignored_roots
            .iter()
            .map(|IgnoredRoot { version, .. }| format!("metadata/{version}.root.json is no root")),
    );
    reasons
}

/// So long before its end a role's document should have been replaced by the next, in seconds. Of the root that is known whatever the lifetimes are.
pub fn least_left(role: &str, lifetimes: Option<&Expiry>) -> Option<i64> {
    if role == "root" {
        return Some(ROOT_LEFT);
    }
    let lifetimes = lifetimes?;
    let lifetime = match role {
        "timestamp" => &lifetimes.timestamp,
        "snapshot" => &lifetimes.snapshot,
        _ => &lifetimes.targets,
    };
    Some(i64::try_from(lifetime.seconds()).unwrap_or(i64::MAX) / LEFT)
}

/// Whether a document is expired, or is renewed too late.
fn expiry(status: &Status, role: &Role, lifetimes: Option<&Expiry>) -> Option<String> {
    let (name, when) = (role.name.as_str(), show::until(status.now, role.expires));
    let left = time::seconds_between(status.now, role.expires);
    if left <= 0 {
        return Some(format!("{name} expired {when}"));
    }
    let whose = match name {
        "root" => "its holders must sign the next one",
        "timestamp" | "snapshot" | "targets" => "it is not renewed",
        bin if bin.starts_with("bin-") => "it is not renewed",
        // Another party's, for as long as that decides.
        _ => return None,
    };
    (left < least_left(name, lifetimes)?).then(|| format!("{name} expires {when}, and {whose}"))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use tufline_store::Queue;
    use tufline_tuf::{RoleName, Sha256, Time};

    use super::*;
    use crate::local::troubles::{Record, Trouble};
    use crate::status::collect::{Depth, Newer, RefusedNewer, Rejected};

    fn good() -> Status {
        let now: Time = "2026-11-25T00:00:00Z".parse().unwrap();
        let role = |name: RoleName, seconds: u64| Role { name, version: 1, expires: time::after(now, seconds) };
        let day = 86_400;
        Status {
            now,
            generation: 7,
            made: now,
            targets: 1,
            roles: vec![
                role(RoleName::root(), 28 * day),
                role(RoleName::timestamp(), day / 4),
                role(RoleName::snapshot(), 7 * day / 4),
                role(RoleName::targets(), 90 * day / 4),
                role("bin-0".parse().unwrap(), 90 * day / 4),
                role("vendor".parse().unwrap(), 1),
            ],
            ignored_roots: Vec::new(),
            waiting: Newer { unsigned: 1, signed: 0, since: Some(now) },
            queues: Some(BTreeMap::from([(Queue::Uploads, Depth { messages: 2, dead_letters: 0 })])),
            rejected: Rejected { count: 3, last: Vec::new() },
            refused_generations: Vec::new(),
            held_removals: BTreeSet::new(),
            clock_behind: None,
            troubles: Record::default(),
            runs: Some(true),
            unreadable: Vec::new(),
            attention: Vec::new(),
        }
    }

    #[test]
    fn each_reason_is_told_and_nothing_else_is_one() {
        let lifetimes = Expiry::default();
        assert_eq!(attention(&good(), Some(&lifetimes)), [""; 0]);
        let now = good().now;
        let reasons = |change: &dyn Fn(&mut Status)| {
            let mut status = good();
            change(&mut status);
            attention(&status, Some(&lifetimes)).join("; ")
        };
        for (index, what) in [
            (0, "root expires in 27 d 23 h, and its holders must sign the next one"),
            (1, "timestamp expires in 5 h, and it is not renewed"),
            (2, "snapshot expires in 1 d 17 h, and it is not renewed"),
            (3, "targets expires in 22 d 11 h, and it is not renewed"),
            (4, "bin-0 expires in 22 d 11 h, and it is not renewed"),
        ] {
            let sooner =
                |status: &mut Status| status.roles[index].expires = time::after(now, seconds(status, index) - 3600);
            assert_eq!(reasons(&sooner), what);
        }
        for index in 0..6 {
            let expired = |status: &mut Status| status.roles[index].expires = now;
            assert!(reasons(&expired).contains("expired 0 s ago"), "{}", reasons(&expired));
        }
        assert_eq!(
            reasons(&|status| status.runs = Some(false)),
            "no `tufline local` runs, so nothing is published or renewed"
        );
        assert_eq!(reasons(&|status| status.clock_behind = Some(now)), "the clock is behind");
        let trouble = || Trouble { what: "sign".into(), why: "why".into(), since: now };
        assert_eq!(
            reasons(&|status| status.troubles = Record { troubles: vec![trouble()], more: 1 }),
            "sign fails; 1 failure more"
        );
        assert!(!reasons(&|status| status.now = time::after(now, 899)).contains("is not published"));
        assert!(
            reasons(&|status| status.now = time::after(now, 900)).contains("what was made 15 min ago is not published")
        );
        let refused = || vec![RefusedNewer { generation: 8, reason: "why".into() }];
        assert_eq!(reasons(&|status| status.refused_generations = refused()), "generation 8 was refused");
        assert_eq!(reasons(&|status| status.held_removals = BTreeSet::from(["a".into()])), "1 removal held");
        let letters = || Some(BTreeMap::from([(Queue::Changes, Depth { messages: 0, dead_letters: 2 })]));
        assert_eq!(reasons(&|status| status.queues = letters()), "2 dead letters of changes");
        let ignored = || vec![IgnoredRoot { version: 2, sha256: Sha256::of(b""), reason: "why".into() }];
        assert_eq!(reasons(&|status| status.ignored_roots = ignored()), "metadata/2.root.json is no root");
    }

    #[test]
    fn where_lifetimes_are_not_known_only_the_root_must_be_early() {
        let mut status = good();
        for role in &mut status.roles {
            role.expires = time::after(status.now, 1);
        }
        assert_eq!(attention(&status, None), ["root expires in 1 s, and its holders must sign the next one"]);
    }

    #[test]
    fn the_alarms_say_the_same() {
        let alarms = include_str!("../../../cdk/lib/alarms.ts");
        assert_eq!((ROOT_LEFT, LEFT, LONGEST_LAG), (28 * 86_400, 4, 15 * 60));
        for line in ["ROOT_LEFT = Duration.days(28);", "LEFT = 1 / 4;", "LONGEST_LAG = Duration.minutes(15);"] {
            assert!(alarms.contains(&format!("const {line}")), "{line}");
        }
    }

    fn seconds(status: &Status, index: usize) -> u64 {
        u64::try_from(time::seconds_between(status.now, status.roles[index].expires)).unwrap()
    }
}
