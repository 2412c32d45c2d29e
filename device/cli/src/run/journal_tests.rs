//! Kills and power failures at any moment: what is installed, and how often.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TRIES: u32 = 3;

fn release(digest: &str) -> Release {
    Release {
        target: "t".to_owned(),
        digest: digest.to_owned(),
        sha256: None,
        length: 1,
        custom: None,
    }
}

/// What happens in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The command works, and the program sees it.
    Works,
    /// The command fails, and changes nothing.
    Fails,
    /// The command asks to be started later.
    PutsOff,
    /// Killed before "begun" is on disk, …
    CutBefore,
    /// … after it, before the command did anything, …
    CutBegun,
    /// … when the command has worked, before that is on disk, …
    CutWorked,
    /// … or after that.
    CutAfter,
}

/// A device, and what its commands did.
#[derive(Debug, Default)]
struct World {
    on_disk: Vec<u8>,
    /// What the device runs.
    runs: String,
    /// What it will run from its next start of the kernel on.
    next: String,
    boot: u32,
    reboots: bool,
    confirms: bool,
    /// Whether `confirm` can tell what the device runs.
    knows: bool,
    starts: BTreeMap<(usize, String), u32>,
    works: BTreeMap<(usize, String), u32>,
}

/// A device whose `confirm` can always tell.
fn world() -> World {
    World { knows: true, ..World::default() }
}

impl World {
    fn journal(&self) -> Journal {
        if self.on_disk.is_empty() {
            Journal::default()
        } else {
            serde_json::from_slice(&self.on_disk).unwrap()
        }
    }

    fn save(&mut self, journal: &Journal) {
        self.on_disk = serde_json::to_vec(journal).unwrap();
    }

    fn boot(&self) -> String {
        self.boot.to_string()
    }

    /// Asks `confirm`, if there is one. Returns whether that can't tell.
    fn confirm(&self, journal: &mut Journal) -> bool {
        let Some(attempt) = journal.attempt.clone().filter(|_| self.confirms) else {
            return false;
        };
        let confirmed = match self.runs == attempt.release.digest {
            _ if !self.knows => Confirmed::Unknown,
            true => Confirmed::Yes,
            false => Confirmed::No,
        };
        journal.confirmed(confirmed, Some(&self.boot()));
        confirmed == Confirmed::Unknown
    }

    fn reboot(&mut self) {
        self.boot += 1;
        self.runs.clone_from(&self.next);
    }

    /// One round, as the program does it (`round.rs`, `install.rs`).
    fn round(&mut self, wish: usize, listed: &str, fate: Fate) -> Due {
        let mut journal = self.journal();
        let is_unsure = journal.awaits_confirmation() && self.confirm(&mut journal);
        journal.see(listed);
        let is_attempt =
            journal.attempt.as_ref().is_some_and(|attempt| attempt.release.digest == listed);
        let due = journal.due(listed, TRIES);
        if fate == Fate::CutBefore {
            return due;
        }
        self.save(&journal);
        let Due::Install(number) = due else { return due };
        if is_unsure && is_attempt {
            return Due::Confirmation;
        }
        let before = journal.clone();
        journal.begin(release(listed), number, Some(self.boot()));
        self.save(&journal);
        if fate == Fate::CutBegun {
            *self.starts.entry((wish, listed.to_owned())).or_default() += 1;
            return due;
        }
        *self.starts.entry((wish, listed.to_owned())).or_default() +=
            u32::from(fate != Fate::PutsOff);
        if matches!(fate, Fate::Works | Fate::CutWorked | Fate::CutAfter) {
            *self.works.entry((wish, listed.to_owned())).or_default() += 1;
            self.next = listed.to_owned();
            if !self.reboots {
                self.runs = listed.to_owned();
            }
        }
        let ending = match fate {
            Fate::CutWorked => return due,
            Fate::PutsOff => {
                journal.put_off(before);
                self.save(&journal);
                return due;
            }
            Fate::Fails => Ending::Failed("ended with 1".to_owned()),
            _ => Ending::Done,
        };
        journal.ended(ending, self.confirms);
        self.save(&journal);
        if fate != Fate::CutAfter {
            self.confirm(&mut journal);
            self.save(&journal);
        }
        due
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    use Fate::{CutAfter, CutBefore, CutBegun, CutWorked, Fails, PutsOff, Works};
    prop::sample::select(vec![Works, Fails, PutsOff, CutBefore, CutBegun, CutWorked, CutAfter])
}

/// One round: what happens to the command, whether `confirm` can tell, and whether the device
/// reboots afterwards.
type Turn = (Fate, bool, bool);

/// A version that the repository lists, the rounds that it sees, and whether it then stays listed
/// until nothing is left to do.
fn wishes() -> impl Strategy<Value = Vec<(u8, Vec<Turn>, bool)>> {
    let turns = prop::collection::vec((fate(), any::<bool>(), any::<bool>()), 0..8);
    prop::collection::vec((0..3_u8, turns, any::<bool>()), 1..8)
}

proptest! {
    /// Whatever the interruptions, each wish comes true once, if its command may work in one of its
    /// tries. The command never starts more often than allowed, and never after the device knew
    /// that it had worked.
    #[test]
    fn a_wish_comes_true_once(wishes in wishes(), reboots in any::<bool>(), confirms in any::<bool>()) {
        let reboots = reboots && confirms;
        let mut world = World { reboots, confirms, ..world() };
        let mut before = None;
        for (wish, (listed, turns, stays)) in wishes.into_iter().enumerate() {
            if before == Some(listed) {
                continue;
            }
            before = Some(listed);
            let listed = format!("{listed}");
            let key = (wish, listed.clone());
            // The device sees the new wish first, whatever comes then.
            let seen = world.round(wish, &listed, Fate::PutsOff);
            prop_assert_ne!(seen, Due::GivenUp, "a new wish has tries of its own");
            let (mut is_known, mut is_always_told) = (false, confirms);
            for (fate, knows, starts_anew) in turns {
                world.knows = knows;
                let starts = world.starts.get(&key).copied();
                world.round(wish, &listed, fate);
                if is_known {
                    prop_assert_eq!(world.starts.get(&key).copied(), starts, "it was known to have worked");
                }
                let journal = world.journal();
                is_known |= journal.attempt.is_none() && journal.installed.as_ref() == Some(&listed);
                if reboots && starts_anew {
                    world.reboot();
                }
                is_always_told &= knows && (starts_anew || !reboots);
            }
            world.knows = true;
            let starts = world.starts.get(&key).copied().unwrap_or(0);
            prop_assert!(starts <= TRIES, "{starts} starts");
            if !stays {
                continue;
            }
            // From here on nothing interferes.
            for _ in 0..=TRIES {
                world.round(wish, &listed, Fate::Works);
                if reboots {
                    world.reboot();
                }
            }
            let last = world.round(wish, &listed, Fate::Works);
            let starts = world.starts.get(&key).copied().unwrap_or(0);
            prop_assert!(starts <= TRIES, "{starts} starts");
            match last {
                Due::Nothing => {
                    prop_assert_eq!(&world.runs, &listed);
                    prop_assert_eq!(world.journal().installed, Some(listed));
                }
                Due::GivenUp => prop_assert_eq!(starts, TRIES),
                other => prop_assert!(false, "not at its end: {other:?}"),
            }
            if is_always_told {
                let works = world.works.get(&key).copied().unwrap_or(0);
                prop_assert!(works <= 1, "it worked {works} times, though confirm told it");
            }
        }
    }

    /// A release that runs isn't installed again, however often the device asks, until another one
    /// was listed.
    #[test]
    fn what_runs_is_left_alone(rounds in 1..20_usize) {
        let mut world = world();
        world.round(0, "a", Fate::Works);
        for _ in 0..rounds {
            prop_assert_eq!(world.round(0, "a", Fate::Works), Due::Nothing);
        }
        world.round(1, "b", Fate::Works);
        prop_assert_eq!(world.round(2, "a", Fate::Works), Due::Install(1), "going back is a new wish");
        prop_assert_eq!(world.round(2, "a", Fate::Works), Due::Nothing);
    }

    /// However the clock is set, no day allows more bytes than the count leaves.
    #[test]
    fn a_clock_that_is_set_gives_no_bytes_back(days in prop::collection::vec(prop::option::of(0..4_i32), 1..20)) {
        let first: Date = "2026-11-30".parse().unwrap();
        let (mut bytes, mut newest, mut since) = (Bytes::default(), None, 0);
        for day in days {
            let today = day.map(|day| first.checked_add(jiff::Span::new().days(day)).unwrap());
            let before = bytes;
            bytes = bytes.on(today);
            if let (Some(day), Some(was)) = (today, before.day) && day > was {
                since = 0;
            }
            prop_assert_eq!(bytes.count, since);
            bytes.count += 10;
            since += 10;
            newest = newest.max(today);
            prop_assert!(bytes.day.is_none() == newest.is_none());
        }
    }
}

#[test]
fn a_failed_release_has_tries_and_then_none_until_another_was_listed() {
    let mut world = world();
    world.round(0, "a", Fate::Works);
    for number in 1..=TRIES {
        assert_eq!(world.round(1, "b", Fate::Fails), Due::Install(number));
    }
    assert_eq!(world.round(1, "b", Fate::Works), Due::GivenUp);
    assert_eq!(world.round(2, "a", Fate::Works), Due::Nothing, "what failed left what ran");
    assert_eq!(world.round(3, "b", Fate::Works), Due::Install(1), "it is wished anew");
}

#[test]
fn after_a_cut_what_ran_before_is_installed_again() {
    let mut world = world();
    world.round(0, "a", Fate::Works);
    world.round(1, "b", Fate::CutWorked);
    assert_eq!(
        world.round(2, "a", Fate::PutsOff),
        Due::Install(1),
        "b may be there, in part or whole"
    );
    assert_eq!(world.round(2, "a", Fate::Works), Due::Install(1), "still");
    assert_eq!(world.round(2, "a", Fate::Works), Due::Nothing);
}

#[test]
fn after_a_cut_and_a_failure_too() {
    let mut world = world();
    world.round(0, "a", Fate::Works);
    for fate in [Fate::CutBegun, Fate::CutWorked, Fate::Fails] {
        world.round(1, "b", fate);
    }
    assert_eq!(
        world.round(2, "a", Fate::Works),
        Due::Install(1),
        "b may be there, from the second try"
    );
    assert_eq!(world.runs, "a");
}

#[test]
fn a_newer_release_that_is_put_off_leaves_the_older_one_to_be_confirmed() {
    let mut world = World { reboots: true, confirms: true, ..world() };
    world.round(0, "a", Fate::Works);
    assert_eq!(world.round(1, "b", Fate::PutsOff), Due::Install(1));
    world.reboot();
    assert_eq!(world.round(1, "b", Fate::PutsOff), Due::Install(1));
    assert_eq!(world.journal().installed.as_deref(), Some("a"), "it was asked about meanwhile");
}

#[test]
fn a_newer_release_that_is_put_off_leaves_one_that_was_cut_to_be_confirmed() {
    let mut world = World { confirms: true, ..world() };
    assert_eq!(world.round(0, "a", Fate::CutWorked), Due::Install(1));
    world.knows = false;
    assert_eq!(world.round(1, "b", Fate::PutsOff), Due::Install(1));
    assert_eq!(world.round(2, "a", Fate::Works), Due::Confirmation, "a may run");
    world.knows = true;
    assert_eq!(world.round(2, "a", Fate::Works), Due::Nothing);
}

#[test]
fn what_is_listed_again_has_tries_of_its_own() {
    let mut world = World { reboots: true, confirms: true, ..world() };
    for _ in 0..TRIES {
        world.round(0, "a", Fate::CutBegun);
    }
    assert_eq!(world.round(0, "a", Fate::Works), Due::GivenUp);
    assert_eq!(world.round(1, "b", Fate::PutsOff), Due::Install(1));
    assert_eq!(world.round(2, "a", Fate::Works), Due::Install(1));
    assert_eq!(world.round(3, "b", Fate::PutsOff), Due::Install(1));
    world.boot += 1;
    assert_eq!(world.round(4, "a", Fate::Works), Due::Install(1), "it fell back meanwhile");
}

#[test]
fn a_reboot_that_comes_up_as_before_has_failed() {
    let mut world = World { reboots: true, confirms: true, ..world() };
    world.round(0, "a", Fate::Works);
    assert_eq!(world.round(0, "a", Fate::Works), Due::Confirmation, "its reboot is still to come");
    world.boot += 1;
    assert_eq!(world.round(0, "a", Fate::Works), Due::Install(2), "another slot came up");
    world.reboot();
    assert_eq!(world.round(0, "a", Fate::Works), Due::Nothing);
}
