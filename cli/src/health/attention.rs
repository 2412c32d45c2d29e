//! The reasons for which a repository needs attention now: for a cron job, what the alarms are on
//! AWS.
//!
//! Rejected uploads are no reason: the uploader was told, the records stay for ever, and nothing
//! waits for an operator. A refused generation is a reason until a newer one is published, because
//! accepted uploads are not visible.

use tufline_pipeline::state::roots::IgnoredRoot;
use tufline_tuf::config::Expiry;
use tufline_tuf::{Time, time};

use super::reason::{About, Reason};
use super::status::Status;
use crate::embedded::Trouble;
use crate::text;

/// The holders need time to sign the next root together: four weeks, in seconds
/// (`cdk/lib/alarms.ts`).
const ROOT_LEFT: i64 = 28 * 24 * 60 * 60;

/// The fraction of a lifetime, as its divisor, at which a renewal is late. It begins when half
/// (timestamp) or a third of the lifetime is left, so at a quarter it has failed for long
/// (`cdk/lib/alarms.ts`).
const LEFT: i64 = 4;

/// How long a generation may wait for its publication, in seconds. It normally takes seconds, and a
/// few minutes in the largest burst (`cdk/lib/alarms.ts`).
const LONGEST_LAG: i64 = 15 * 60;

/// All reasons, the worst first. `lifetimes` are those of documents, if they are known.
pub fn reasons(status: &Status, lifetimes: Option<&Expiry>) -> Vec<Reason> {
    let now = status.now;
    let mut found = Vec::new();
    let damaged = status.damaged.iter();
    found.extend(damaged.map(|damage| {
        Reason::new(About::Damage, format!("{} is missing or damaged", damage.file))
            .because(&*damage.why)
    }));
    let roles = status.roles.iter();
    found.extend(
        roles.filter_map(|role| expiry_reason(role.name.as_str(), role.expires, now, lifetimes)),
    );
    if status.runs == Some(false) {
        found.push(Reason::new(
            About::NotRunning,
            "no `tufline local` runs, so nothing is published or renewed",
        ));
    }
    if let Some(stored) = status.clock_behind {
        let why = format!(
            "the timestamp was stored at {stored}, and nothing is published or renewed until then"
        );
        found.push(Reason::new(About::Clock, "the clock is behind").because(why));
    }
    found.extend(status.troubles.troubles.iter().map(|Trouble { what, why, since, .. }| {
        Reason::new(About::Trouble, format!("{what} fails"))
            .because(format!("since {since}: {why}"))
    }));
    if status.troubles.more > 0 {
        let text = format!("{} more", text::count(status.troubles.more as u64, "failure"));
        found.push(Reason::new(About::Trouble, text));
    }
    let waits =
        status.waiting.since.filter(|since| time::seconds_between(*since, now) >= LONGEST_LAG);
    found.extend(waits.map(|since| {
        Reason::new(
            About::Lag,
            format!("a generation made {} is not published", text::until(now, since)),
        )
    }));
    found.extend(status.refused_generations.iter().map(|refused| {
        let text = format!("generation {} was refused", refused.generation);
        Reason::new(About::RefusedGeneration, text).because(&*refused.reason)
    }));
    if !status.held_removals.is_empty() {
        let text = format!("{} held", text::count(status.held_removals.len() as u64, "removal"));
        found.push(Reason::new(About::HeldRemovals, text));
    }
    let letters = status.queues.iter().flatten().filter(|(_, depth)| depth.dead_letters > 0);
    found.extend(letters.map(|(queue, depth)| {
        let text =
            format!("{} of {}", text::count(depth.dead_letters, "dead letter"), queue.name());
        Reason::new(About::DeadLetters, text)
    }));
    found.extend(status.ignored_roots.iter().map(|IgnoredRoot { version, reason, .. }| {
        Reason::new(About::IgnoredRoot, format!("metadata/{version}.root.json is no root"))
            .because(reason)
    }));
    found
}

/// How many seconds before its expiry a role's document should have been replaced. For the root
/// this doesn't depend on `lifetimes`.
fn least_left(role: &str, lifetimes: Option<&Expiry>) -> Option<i64> {
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

/// The reason if the document of the role `name` is expired, or is renewed too late. `tufline
/// status` and `tufline doctor` share this rule. Another party decides itself how long its document
/// is valid, so that one counts only once it is expired.
pub fn expiry_reason(
    name: &str,
    expires: Time,
    now: Time,
    lifetimes: Option<&Expiry>,
) -> Option<Reason> {
    let (when, left) = (text::until(now, expires), time::seconds_between(now, expires));
    let about = match name {
        "root" if left > 0 => About::RootIsDue,
        "root" => About::RootExpiry,
        "timestamp" => About::TimestampExpiry,
        "snapshot" | "targets" => About::Expiry,
        bin if bin.starts_with("bin-") => About::Expiry,
        _ => About::PartyExpiry,
    };
    if left <= 0 {
        return Some(Reason::new(about, format!("{name} expired {when}")));
    }
    let whose = match about {
        About::PartyExpiry => return None,
        About::RootIsDue => "its holders must sign the next one",
        _ => "it is not renewed",
    };
    let is_late = left < least_left(name, lifetimes)?;
    is_late.then(|| Reason::new(about, format!("{name} expires {when}, and {whose}")))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use tufline_store::Queue;
    use tufline_tuf::{RoleName, Sha256, Time};

    use super::super::damage::Damage;
    use super::super::status::{Depth, Newer, RefusedNewer, RejectedUploads, RoleStatus};
    use super::*;
    use crate::embedded::{Trouble, TroublesRecord};

    fn good() -> Status {
        let now: Time = "2026-11-25T00:00:00Z".parse().unwrap();
        let role = |name: RoleName, seconds: u64| RoleStatus {
            name,
            version: 1,
            expires: time::after(now, seconds),
        };
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
            damaged: Vec::new(),
            ignored_roots: Vec::new(),
            waiting: Newer { unsigned: 1, signed: 0, since: Some(now) },
            queues: Some(BTreeMap::from([(
                Queue::Uploads,
                Depth { messages: 2, dead_letters: 0 },
            )])),
            rejected: RejectedUploads { count: 3, last: Vec::new(), unlisted: 3 },
            refused_generations: Vec::new(),
            held_removals: BTreeSet::new(),
            clock_behind: None,
            troubles: TroublesRecord::default(),
            runs: Some(true),
            unreadable: Vec::new(),
            attention: Vec::new(),
        }
    }

    #[test]
    fn each_reason_is_reported_and_nothing_else() {
        let lifetimes = Expiry::default();
        assert_eq!(reasons(&good(), Some(&lifetimes)), []);
        let now = good().now;
        let told = |change: &dyn Fn(&mut Status)| {
            let mut status = good();
            change(&mut status);
            texts(&reasons(&status, Some(&lifetimes))).join("; ")
        };
        for (index, what) in [
            (0, "root expires in 27 d 23 h, and its holders must sign the next one"),
            (1, "timestamp expires in 5 h, and it is not renewed"),
            (2, "snapshot expires in 1 d 17 h, and it is not renewed"),
            (3, "targets expires in 22 d 11 h, and it is not renewed"),
            (4, "bin-0 expires in 22 d 11 h, and it is not renewed"),
        ] {
            let sooner = |status: &mut Status| {
                status.roles[index].expires = time::after(now, seconds(status, index) - 3600);
            };
            assert_eq!(told(&sooner), what);
        }
        for index in 0..6 {
            let expired = |status: &mut Status| status.roles[index].expires = now;
            assert!(told(&expired).contains("expired 0 s ago"), "{}", told(&expired));
        }
        assert_eq!(
            told(&|status| status.runs = Some(false)),
            "no `tufline local` runs, so nothing is published or renewed"
        );
        assert_eq!(told(&|status| status.clock_behind = Some(now)), "the clock is behind");
        let trouble = || Trouble { what: "sign".into(), why: "why".into(), kind: None, since: now };
        assert_eq!(
            told(&|status| status.troubles = TroublesRecord { troubles: vec![trouble()], more: 1 }),
            "sign fails; 1 failure more"
        );
        assert!(!told(&|status| status.now = time::after(now, 899)).contains("is not published"));
        assert!(
            told(&|status| status.now = time::after(now, 900))
                .contains("a generation made 15 min ago is not published")
        );
        let refused = || vec![RefusedNewer { generation: 8, reason: "why".into() }];
        assert_eq!(
            told(&|status| status.refused_generations = refused()),
            "generation 8 was refused"
        );
        assert_eq!(
            told(&|status| status.held_removals = BTreeSet::from(["a".into()])),
            "1 removal held"
        );
        let letters =
            || Some(BTreeMap::from([(Queue::Changes, Depth { messages: 0, dead_letters: 2 })]));
        assert_eq!(told(&|status| status.queues = letters()), "2 dead letters of changes");
        let ignored =
            || vec![IgnoredRoot { version: 2, sha256: Sha256::of(b""), reason: "why".into() }];
        assert_eq!(
            told(&|status| status.ignored_roots = ignored()),
            "metadata/2.root.json is no root"
        );
        let damaged =
            || vec![Damage { file: "metadata/7.snapshot.json".into(), why: "why".into() }];
        assert_eq!(
            told(&|status| status.damaged = damaged()),
            "metadata/7.snapshot.json is missing or damaged"
        );
    }

    #[test]
    fn without_known_lifetimes_only_the_root_is_reported_before_it_expires() {
        let mut status = good();
        for role in &mut status.roles {
            role.expires = time::after(status.now, 1);
        }
        let told = reasons(&status, None);
        assert_eq!(texts(&told), ["root expires in 1 s, and its holders must sign the next one"]);
    }

    fn texts(reasons: &[Reason]) -> Vec<&str> {
        reasons.iter().map(|reason| &*reason.text).collect()
    }

    #[test]
    fn the_alarms_say_the_same() {
        let alarms = include_str!("../../../cdk/lib/alarms.ts");
        assert_eq!((ROOT_LEFT, LEFT, LONGEST_LAG), (28 * 86_400, 4, 15 * 60));
        for line in [
            "ROOT_LEFT = Duration.days(28);",
            "LEFT = 1 / 4;",
            "LONGEST_LAG = Duration.minutes(15);",
        ] {
            assert!(alarms.contains(&format!("const {line}")), "{line}");
        }
    }

    fn seconds(status: &Status, index: usize) -> u64 {
        u64::try_from(time::seconds_between(status.now, status.roles[index].expires)).unwrap()
    }
}
