//! An unreadable document, page or file holds up only the changes that need it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use tufline_pipeline::Ports;
use tufline_pipeline::operations::delegation;
use tufline_pipeline::operations::init;
use tufline_pipeline::stages;
use tufline_pipeline::stages::Rebuilt;
use tufline_pipeline::stages::Shown;
use tufline_pipeline::stages::Turn;
use tufline_pipeline::stages::hash;
use tufline_pipeline::stages::publish;
use tufline_pipeline::stages::rebuild;
use tufline_pipeline::stages::reconcile;
use tufline_pipeline::state::index::read_index_below;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::pending::Tip;
use tufline_store::memory::{Calm, Control, Fate, Memory, MemoryKeys, Request};
use tufline_store::{Change, Hint, Key, Message, Queue};
use tufline_tuf::delegations::PartyEdit;
use tufline_tuf::generation::FirstBins;
use tufline_tuf::{Config, Manifest, RoleName, trie};

use common::{finish, key, ports, take_changes};

/// Two names in bins of different first digits.
const NAME: &str = "a";
const OTHER: &str = "b";

struct World {
    memory: Arc<Memory>,
    ports: Ports,
}

impl World {
    /// A published repository with 256 bins, in which `NAME` is a target.
    fn new() -> Self {
        let keys = Arc::new(MemoryKeys::generate().unwrap());
        let memory = Arc::new(Memory::new(
            "2026-01-01T00:00:00Z".parse().unwrap(),
            keys.clone(),
            Box::new(Calm),
        ));
        let ports = ports(&memory, Config::default());
        finish(init::init(&ports, keys.root(), FirstBins::TwoHundredFiftySix)).unwrap();
        let world = Self { memory, ports };
        assert_eq!(world.show(), Shown::Now(1));
        world.upload(&[NAME], "first");
        assert_eq!(world.rebuild().generation, Some(2));
        assert_eq!(world.show(), Shown::Now(2));
        world
    }

    /// Uploads these names. Their changes come in one message.
    fn upload(&self, names: &[&str], bytes: &str) {
        let hints = names.iter().map(|name| {
            let version =
                self.memory.put_upload(name, Bytes::from(format!("{bytes} of {name}")), None, true);
            Hint { name: (*name).into(), removed: false, version: Some(version) }
        });
        assert!(
            finish(hash(&self.ports, Turn::All, &hints.collect::<Vec<_>>()))
                .iter()
                .all(Option::is_none)
        );
    }

    /// Runs rebuild on the messages that wait.
    fn rebuild(&self) -> Rebuilt {
        finish(rebuild(&self.ports, &take_changes(&self.memory))).unwrap()
    }

    fn show(&self) -> Shown {
        finish(stages::sign(&self.ports)).unwrap();
        finish(publish(&self.ports)).unwrap()
    }

    fn newest(&self) -> Manifest {
        finish(Tip::read(&*self.ports.store)).unwrap().newest().clone()
    }

    fn shown(&self) -> Manifest {
        let published = finish(ledger::published(&*self.ports.store)).unwrap().unwrap();
        finish(ledger::manifest(&*self.ports.store, published.generation)).unwrap()
    }

    /// The names that the newest generation changed.
    fn changed(&self) -> Vec<String> {
        self.newest().changes.iter().map(|change| change.name.to_string()).collect()
    }

    /// The paths of a role's newest document: its draft, and the signed file.
    fn document(&self, role: &RoleName) -> [String; 2] {
        let index = finish(read_index_below(&*self.ports.store, &self.newest(), |_| true)).unwrap();
        let entry = &index.entry(role).unwrap().document;
        [
            Key::Draft(entry.draft).path(),
            Key::Metadata { role: role.clone(), version: entry.version }.path(),
        ]
    }

    /// Loses both, since each could replace the other.
    fn lose_document(&self, role: &RoleName) -> [(String, Bytes); 2] {
        self.document(role).map(|path| (path.clone(), self.lose(&path)))
    }

    fn restore(&self, lost: [(String, Bytes); 2]) {
        for (path, bytes) in lost {
            self.memory.tamper(&path, Some(bytes));
        }
    }

    /// The path of the page below a role.
    fn page(&self, role: &RoleName) -> String {
        let index = finish(read_index_below(&*self.ports.store, &self.newest(), |_| true)).unwrap();
        Key::Page(index.entry(role).unwrap().bins.as_ref().unwrap().page).path()
    }

    fn lose(&self, path: &str) -> Bytes {
        let bytes = self.memory.object(path).unwrap();
        self.memory.tamper(path, None);
        bytes
    }
}

/// The bin that holds a name, if bins have this many digits.
fn bin(name: &str, digits: usize) -> RoleName {
    trie::leaf(&name.parse().unwrap(), |role| trie::depth(role) <= digits)
}

/// The names in the messages that wait for rebuild.
fn sets(messages: &[Vec<Change>]) -> Vec<Vec<String>> {
    let name = |change: &Change| {
        if let Change::Set { name, .. } = change { name.to_string() } else { String::new() }
    };
    messages.iter().map(|changes| changes.iter().map(name).collect()).collect()
}

#[test]
fn a_lost_draft_holds_up_its_own_names_only() {
    let world = World::new();
    let lost = world.lose_document(&bin(NAME, 2));
    let path = &lost[0].0.clone();
    // Both in one message.
    world.upload(&[NAME, OTHER], "second");
    let rebuilt = world.rebuild();
    assert_eq!((rebuilt.generation, rebuilt.failed.len()), (Some(3), 0));
    assert_eq!(world.changed(), [OTHER]);
    assert_eq!(world.show(), Shown::Now(3));
    let left = take_changes(&world.memory);
    assert_eq!(sets(&left), [[NAME]], "what failed is a message of its own");
    // In two messages.
    world.upload(&[OTHER], "third");
    let messages = [left, take_changes(&world.memory)].concat();
    let rebuilt = finish(rebuild(&world.ports, &messages)).unwrap();
    assert_eq!(
        (rebuilt.generation, rebuilt.failed.keys().copied().collect::<Vec<_>>()),
        (Some(4), vec![0])
    );
    assert!(rebuilt.failed[&0].to_string().contains(path), "{}", rebuilt.failed[&0]);
    assert_eq!(world.memory.queued(Queue::Changes), 0, "it comes again by its queue");
    // The failing message alone.
    let rebuilt = finish(rebuild(&world.ports, &messages[..1])).unwrap();
    assert_eq!((rebuilt.generation, rebuilt.failed.len()), (None, 1));
    world.restore(lost);
    let rebuilt = finish(rebuild(&world.ports, &messages[..1])).unwrap();
    assert_eq!((rebuilt.generation, rebuilt.failed.len()), (Some(5), 0));
    assert_eq!(world.changed(), [NAME]);
}

#[test]
fn a_document_with_other_bytes_holds_up_its_own_names_only() {
    let world = World::new();
    for path in world.document(&bin(NAME, 2)) {
        world.memory.tamper(&path, Some(Bytes::from_static(b"{}")));
    }
    world.upload(&[NAME, OTHER], "second");
    assert_eq!(world.rebuild().generation, Some(3));
    assert_eq!(world.changed(), [OTHER]);
}

#[test]
fn a_lost_waiting_generation_is_made_again() {
    let world = World::new();
    world.upload(&[NAME, OTHER], "second");
    world.rebuild();
    // Not signed yet.
    world.lose(&world.document(&bin(NAME, 2))[0]);
    world.upload(&[NAME], "third");
    assert_eq!(world.rebuild().generation, Some(4));
    assert_eq!(world.changed(), [NAME, OTHER]);
    assert_eq!(world.show(), Shown::Now(4));
}

#[test]
fn when_a_generation_is_made_again_unreadable_changes_come_again() {
    let world = World::new();
    world.upload(&[NAME, OTHER], "second");
    world.rebuild();
    world.lose(&world.document(&bin(OTHER, 2))[0]);
    // Lose the published document too.
    let index = finish(read_index_below(&*world.ports.store, &world.shown(), |_| true)).unwrap();
    let entry = &index.entry(&bin(NAME, 2)).unwrap().document;
    let paths = [
        Key::Draft(entry.draft).path(),
        Key::Metadata { role: bin(NAME, 2), version: entry.version }.path(),
    ];
    let lost = paths.map(|path| (path.clone(), world.lose(&path)));
    world.upload(&[OTHER], "third");
    assert_eq!(world.rebuild().generation, Some(4));
    assert_eq!(world.changed(), [OTHER]);
    let left = take_changes(&world.memory);
    assert_eq!(left, [[Change::Look { name: NAME.parse().unwrap() }]]);
    world.restore(lost);
    assert_eq!(finish(rebuild(&world.ports, &left)).unwrap().generation, Some(5));
    assert_eq!(world.changed(), [NAME]);
}

#[test]
fn a_lost_page_holds_up_what_is_below_it_only() {
    let world = World::new();
    let path = world.page(&bin(NAME, 1));
    let page = world.lose(&path);
    world.upload(&[NAME, OTHER], "second");
    assert_eq!(world.rebuild().generation, Some(3));
    assert_eq!(world.changed(), [OTHER]);
    assert_eq!(world.show(), Shown::Now(3));
    assert_eq!(sets(&take_changes(&world.memory)), [[NAME]]);
    // Renewals and reconciliation go on as well.
    world.memory.pass(80 * 86_400);
    assert!(finish(stages::refresh(&world.ports)).is_err(), "it says what is lost");
    let renewed = take_changes(&world.memory);
    assert!(
        !renewed.is_empty() && finish(rebuild(&world.ports, &renewed)).unwrap().failed.is_empty()
    );
    assert!(world.newest().changed.contains_key(&"bin-00".parse().unwrap()));
    assert_eq!(finish(reconcile(&world.ports)).unwrap(), 2, "both uploads");
    world.memory.tamper(&path, Some(page));
    world.upload(&[NAME], "third");
    world.rebuild();
    assert_eq!(world.changed(), [NAME]);
}

#[test]
fn a_renewal_that_fails_is_told_and_asked_for_again_by_refresh_only() {
    let world = World::new();
    let (role, other) = (bin(NAME, 2), bin(OTHER, 2));
    let path = world.lose_document(&role)[0].0.clone();
    let index = finish(read_index_below(&*world.ports.store, &world.newest(), |_| true)).unwrap();
    let version = |role: &RoleName| index.entry(role).unwrap().document.version;
    let renew = |role: &RoleName| Change::Renew { role: role.clone(), version: version(role) };
    let rebuilt =
        finish(rebuild(&world.ports, &[vec![renew(&role)], vec![renew(&role), renew(&other)]]))
            .unwrap();
    assert!(rebuilt.generation.is_some() && rebuilt.failed.is_empty());
    assert!(
        rebuilt.unrenewed.len() == 2 && rebuilt.unrenewed[0].to_string().contains(&path),
        "{:?}",
        rebuilt.unrenewed
    );
    assert_eq!(world.newest().changed.into_keys().collect::<Vec<_>>(), [other]);
    assert_eq!(world.memory.queued(Queue::Changes), 0);
}

#[test]
fn a_draft_that_nobody_needs_is_not_missed() {
    let world = World::new();
    world.lose_document(&bin(NAME, 2));
    world.upload(&[OTHER], "second");
    let rebuilt = world.rebuild();
    assert_eq!((rebuilt.generation, rebuilt.failed.len()), (Some(3), 0));
}

/// A [`Control`] under which requests about these places fail.
#[derive(Clone, Default)]
struct Broken(Arc<Mutex<Vec<&'static str>>>);

impl Control for Broken {
    fn fate(&self, request: &Request<'_>) -> Fate {
        let is_broken = self.0.lock().unwrap().iter().any(|place| request.place.contains(place));
        if is_broken { Fate::Failed } else { Fate::Done }
    }
}

#[test]
fn a_party_whose_file_can_t_be_read_holds_up_nobody_else() {
    let mut world = World::new();
    let broken = Broken::default();
    let keys = Arc::new(MemoryKeys::generate().unwrap());
    let deliveries =
        Memory::new("2026-01-01T00:00:00Z".parse().unwrap(), keys, Box::new(broken.clone()));
    world.ports.deliveries = Arc::new(deliveries);
    let role: RoleName = "vendor".parse().unwrap();
    let paths = vec!["vendor/*".parse().unwrap()];
    let edit =
        PartyEdit::Create { paths, keys: vec![tough::sign::Sign::tuf_key(&*key())], threshold: 1 };
    let (config, now) = (world.ports.config.clone(), world.ports.clock.now());
    finish(delegation::change(&*world.ports.store, &config, now, &role, &edit)).unwrap();
    broken.0.lock().unwrap().push("vendor.json");
    // The message asks for the party itself.
    let delivery = |role: &str| Change::Delivery { role: role.parse().unwrap() };
    world.upload(&[OTHER], "second");
    let messages = [vec![delivery("vendor")], take_changes(&world.memory).concat()];
    let rebuilt = finish(rebuild(&world.ports, &messages)).unwrap();
    assert_eq!(
        (rebuilt.generation, rebuilt.failed.keys().copied().collect::<Vec<_>>()),
        (Some(4), vec![0])
    );
    assert_eq!(world.changed(), [OTHER]);
    // An upload under the party's names is answered, and the party's file is looked at again.
    world.upload(&["vendor/x", OTHER], "third");
    let rebuilt = world.rebuild();
    assert_eq!((rebuilt.generation, rebuilt.failed.len()), (Some(5), 0));
    assert_eq!(world.changed(), [OTHER, "vendor/x"]);
    assert_eq!(take_changes(&world.memory), [[delivery("vendor")]]);
}

#[test]
fn a_batch_comes_again_if_every_change_needs_a_lost_page() {
    let world = World::new();
    let path = world.page(&RoleName::targets());
    world.lose(&path);
    world.upload(&[NAME], "second");
    world.upload(&[OTHER], "second");
    let rebuilt = world.rebuild();
    assert_eq!((rebuilt.generation, rebuilt.failed.len()), (None, 2));
    assert!(world.memory.take(Queue::Changes, 0).map(|it| Message::from_body(&it.body)).is_none());
}
