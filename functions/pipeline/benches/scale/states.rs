//! What devices see, written to a folder in three states, for `tests/bench_lib/devices.py`:
//!
//! - `metadata/`: every versioned file of any state;
//! - `<state>.timestamp.json`: `base`, then `other` once a target was changed that stands in another role than the
//!   device's own, where there is one, then `own` once the device's own was changed too.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::metered::Delays;
use crate::pump::Pump;
use crate::world::{World, changed, leaf, name};

/// Makes the changes, and writes each state.
pub async fn write(world: &World, targets: usize, folder: &Path) {
    std::fs::create_dir_all(folder.join("metadata")).unwrap();
    let own = name(0);
    let roles = world.roles();
    let elsewhere = |other: &String| leaf(&roles, other) != leaf(&roles, &own);
    let other = (1..targets).map(name).find(elsewhere).unwrap_or_else(|| name(1));
    let pump = Pump::new(world, Delays::none(), Duration::ZERO);
    let mut written = BTreeSet::new();
    write_state(world, folder, "base", &mut written);
    for (state, name) in [("other", &other), ("own", &own)] {
        world.upload(name, changed(name).as_bytes());
        pump.run().await;
        world.check_published(std::slice::from_ref(name));
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
    std::fs::write(folder.join(format!("{state}.timestamp.json")), world.metadata("timestamp.json")).unwrap();
}
