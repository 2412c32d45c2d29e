//! Writes what devices see to a folder, in five states, for `tests/bench_lib/devices.py` and
//! `functions/serve/benches/packs`:
//!
//! - `metadata/` has every versioned file of any state.
//! - `<state>.timestamp.json` is the timestamp of a state. `base` is the first. In `other`, a
//!   target has changed that is in another role than the device's own target, if there is one. In
//!   `own`, the device's own target has changed too. `behind` is [`BEHIND`] generations later, each
//!   of which changed one other target. `before` is the last state before `behind`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rand::seq::index::sample;
use rand::{SeedableRng, rngs::StdRng};

use crate::metered::Delays;
use crate::pump::Pump;
use crate::world::{World, changed, leaf, name};

/// How many generations are between `own` and `behind`. A fixed seed chooses their targets.
const BEHIND: usize = 100;

/// Makes the changes, and writes each state.
pub async fn write(world: &World, targets: usize, folder: &Path) {
    std::fs::create_dir_all(folder.join("metadata")).unwrap();
    let own = name(0);
    let roles = world.roles();
    let elsewhere = |other: &String| leaf(&roles, other) != leaf(&roles, &own);
    let other = (1..targets).map(name).find(elsewhere).unwrap_or_else(|| name(1));
    // The first target is the device's own. No target is changed twice.
    let others = sample(&mut StdRng::seed_from_u64(0), targets - 1, (BEHIND + 1).min(targets - 1));
    let mut others: Vec<String> =
        others.iter().map(|number| name(number + 1)).filter(|name| *name != other).collect();
    others.truncate(BEHIND);
    let last = others.pop().into_iter().collect();
    let pump = Pump::new(world, Delays::none(), Duration::ZERO);
    let mut written = BTreeSet::new();
    write_state(world, folder, "base", &mut written);
    let changes =
        [("other", vec![other]), ("own", vec![own]), ("before", others), ("behind", last)];
    for (state, names) in changes {
        for name in names {
            world.upload(&name, changed(&name).as_bytes());
            pump.run().await;
            world.check_published(&[name]);
        }
        write_state(world, folder, state, &mut written);
    }
}

fn write_state(world: &World, folder: &Path, state: &str, written: &mut BTreeSet<String>) {
    let roles = world.roles().into_iter().map(|(role, version)| format!("{version}.{role}.json"));
    let others = ["1.root.json".to_owned(), format!("{}.snapshot.json", world.generation())];
    for file in roles.chain(others) {
        if written.insert(file.clone()) {
            std::fs::write(folder.join("metadata").join(&file), world.metadata(&file)).unwrap();
        }
    }
    std::fs::write(
        folder.join(format!("{state}.timestamp.json")),
        world.metadata("timestamp.json"),
    )
    .unwrap();
}
