//! Hostile packs. Whatever a pack contains, the device ends in a state to which a server without
//! packs could have led it, and no pack ends the device's process or fills its memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/device.rs"]
mod device;
#[path = "common/encoder.rs"]
mod encoder;
#[expect(dead_code, reason = "no test here needs stolen keys")]
#[path = "common/history.rs"]
mod history;
#[path = "common/repository.rs"]
mod repository;

use proptest::prelude::*;
use proptest::sample::Index;
use tufline_client::{
    Clock, Limits, MOST_PACK_BYTES, MemoryStorage, Pack, PackQuestion, Packed, Updater,
};
use tufline_pack::{Entry, MOST_BLOCKS, TABLES_ID, dictionary, write};
use zstd::zstd_safe::CParameter;

use device::{Claims, as_by_names, by_names, clock, signed, with_pack};
use encoder::{BLOCK, Block, WINDOW, by_hand, frame, frame_with};
use history::Step;
use repository::{Repository, TARGET};

/// A device with the first version, and the repository with everything published since.
struct World {
    device: MemoryStorage,
    repository: Repository,
    /// All timestamps so far, the device's own first.
    timestamps: Vec<Vec<u8>>,
}

impl World {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut repository = Repository::new();
        let mut device = MemoryStorage::default();
        tufline_client::begin_with(&mut device, &repository.files["1.root.json"]).unwrap();
        by_names(&mut device, &repository).unwrap().unwrap();
        let mut timestamps = vec![repository.files["timestamp.json"].clone()];
        for (step, number) in steps.into_iter().zip(20..) {
            step.carry_out(&mut repository, number);
            timestamps.push(repository.files["timestamp.json"].clone());
        }
        Self { device, repository, timestamps }
    }

    /// A world whose repository is one root and one publication ahead of the device.
    fn ahead() -> Self {
        Self::new([Step::Root, Step::Publish])
    }

    fn question(&self) -> PackQuestion {
        let mut device = self.device.clone();
        Updater::open(&mut device, clock(), Limits::default())
            .unwrap()
            .pack_question(&[TARGET], &[TARGET])
            .unwrap()
    }

    /// The dictionary of the device's files.
    fn dictionary(&self) -> Vec<u8> {
        dictionary(
            &["root", "snapshot", "targets", "bins"]
                .map(|role| &self.device.0[&format!("{role}.json")]),
        )
    }

    fn file(&self, path: &str) -> &[u8] {
        &self.repository.files[path]
    }

    /// The entries of an honest pack for the device of [`World::ahead`].
    fn honest(&self) -> Vec<Entry<'_>> {
        let metadata =
            ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json", "2.bins.json"];
        let metadata =
            metadata.into_iter().map(|path| Entry::Metadata { path, bytes: self.file(path) });
        let targets = self
            .repository
            .files
            .iter()
            .filter_map(|(path, bytes)| Some((path.strip_prefix("targets/")?, bytes)));
        let targets = targets.map(|(path, bytes)| Entry::Target { path, bytes });
        metadata.chain([Entry::Absent { path: "3.root.json" }]).chain(targets).collect()
    }

    /// Updates with a pack, then without one. The first update must end as a server without packs
    /// could have made it end; the second must end as any update by names.
    fn judge(&self, answer: &[u8]) -> Result<Pack, String> {
        let (mut device, mut pack) = (self.device.clone(), Err(String::new()));
        let outcome = with_pack(&mut device, &self.repository, |question| {
            pack = question.unpack(answer).map_err(|error| error.to_string());
            pack.clone().unwrap_or_default()
        });
        let said = pack.clone().unwrap_or_default();
        let claims = Claims::of(&said, &self.repository, &self.timestamps);
        let (expected, state) = as_by_names(&self.device, &self.repository, &claims);
        assert_eq!(outcome, expected);
        assert_eq!(signed(&device), signed(&state));
        let mut other = self.device.clone();
        assert_eq!(
            by_names(&mut device, &self.repository),
            by_names(&mut other, &self.repository),
            "the next update"
        );
        assert_eq!(signed(&device), signed(&other), "the next update");
        pack
    }
}

// Frames

#[test]
fn frames_of_another_encoder_are_read_and_others_are_refused() {
    let world = World::ahead();
    let (content, dictionary) = (write(&world.honest()), world.dictionary());
    let honest = frame(&content, &dictionary);
    assert!(
        honest.len() < content.len() / 3,
        "{} of {} bytes: the dictionary helps",
        honest.len(),
        content.len()
    );
    let length = u64::try_from(content.len()).unwrap();
    let wrong = |at: usize, bytes: &[u8]| {
        let mut frame = honest.clone();
        frame.splice(at..at + bytes.len(), bytes.iter().copied());
        frame
    };
    let reserved = {
        let mut frame = by_hand(length, WINDOW, &[Block::Raw(&content)], &content);
        frame[14] |= 0b110;
        frame
    };
    let skippable = [&0x184D_2A50_u32.to_le_bytes()[..], &[4, 0, 0, 0], b"skip"].concat();
    let blocks: Vec<_> = (0..=MOST_BLOCKS).map(|_| Block::Compressed(&[0, 0])).collect();
    let unreadable = "it is not a Zstandard frame that this device can read";
    for (title, answer, told) in [
        ("a server's", honest.clone(), None),
        ("without a dictionary", frame(&content, &[]), None),
        ("made by hand", by_hand(length, WINDOW, &[Block::Raw(&content)], &content), None),
        (
            "in several blocks",
            by_hand(
                length,
                WINDOW,
                &content.chunks(1000).map(Block::Raw).collect::<Vec<_>>(),
                &content,
            ),
            None,
        ),
        (
            "with a small window, before which the beginning lies",
            by_hand(
                length,
                1 << 3,
                &content.chunks(1000).map(Block::Raw).collect::<Vec<_>>(),
                &content,
            ),
            None,
        ),
        ("nothing", vec![], Some(unreadable)),
        ("a page", b"<!DOCTYPE html>".to_vec(), Some(unreadable)),
        ("4 MiB of nothing", vec![0; MOST_PACK_BYTES], Some(unreadable)),
        ("16 MiB of nothing", vec![0; 16 << 20], Some("it is longer than any pack")),
        ("16 MiB of nothing, packed", frame(&vec![0; 16 << 20], &[]), Some(unreadable)),
        (
            "no checksum",
            frame_with(&content, &dictionary, &[CParameter::ChecksumFlag(false)]),
            Some("its checksum is wrong or missing"),
        ),
        (
            "a wrong checksum",
            wrong(honest.len() - 1, &[!honest[honest.len() - 1]]),
            Some("its checksum is wrong or missing"),
        ),
        (
            "no length",
            frame_with(&content, &dictionary, &[CParameter::ContentSizeFlag(false)]),
            Some("it is longer than it states"),
        ),
        (
            "a length that is too small",
            by_hand(length - 1, WINDOW, &[Block::Raw(&content)], &content),
            Some("it is longer than it states"),
        ),
        (
            "a length that is too large",
            by_hand(length + 1, WINDOW, &[Block::Raw(&content)], &content),
            Some("it doesn't have the length that it states"),
        ),
        (
            "a length of 4 GB",
            by_hand(4 << 30, WINDOW, &[Block::Raw(&content)], &content),
            Some(unreadable),
        ),
        (
            "a length of 2^64 - 1",
            by_hand(u64::MAX, WINDOW, &[Block::Raw(&content)], &content),
            Some(unreadable),
        ),
        (
            "a window of 1 GB",
            by_hand(length, 20 << 3, &[Block::Raw(&content)], &content),
            Some(unreadable),
        ),
        (
            "a window of 4.5 MiB",
            by_hand(length, WINDOW + 1, &[Block::Raw(&content)], &content),
            Some(unreadable),
        ),
        ("a block of an undefined kind", reserved, Some(unreadable)),
        (
            "blocks of nothing",
            by_hand(0, WINDOW, &blocks, &[]),
            Some("it has more blocks than any pack"),
        ),
        (
            "a bomb that states a small length",
            by_hand(9, WINDOW, &[Block::Repeated(b'x', BLOCK)], &content),
            Some("it is longer than it states"),
        ),
        ("an unknown dictionary number", wrong(5, &[9]), Some(unreadable)),
        (
            "no dictionary number",
            frame_with(&content, &dictionary, &[CParameter::DictIdFlag(false)]),
            Some(""),
        ),
        (
            "another dictionary",
            frame(
                &content,
                &tufline_pack::dictionary(&[dictionary.iter().rev().copied().collect::<Vec<_>>()]),
            ),
            Some(""),
        ),
        ("a skippable frame before it", [&skippable[..], &honest].concat(), Some(unreadable)),
        (
            "a skippable frame after it",
            [&honest[..], &skippable].concat(),
            Some("it is followed by other bytes"),
        ),
        ("two frames", honest.repeat(2), Some("it is followed by other bytes")),
        ("a byte after it", [&honest[..], b"\0"].concat(), Some("it is followed by other bytes")),
    ] {
        // With the wrong dictionary, the first error depends on its bytes: any refusal will do.
        let judged = world.judge(&answer).err();
        let told = told.map(|told| {
            if told.is_empty() {
                judged.clone().unwrap_or_default()
            } else {
                format!("it is not a pack: {told}")
            }
        });
        assert_eq!(judged, told, "{title}");
    }
    assert_eq!(honest[5..9], TABLES_ID.to_le_bytes(), "where the dictionary's number stands");
}

/// Reads a pack longer than the encoder's window at each level, with as many blocks as encoders
/// make.
#[test]
fn a_pack_as_large_as_may_be_is_read() {
    let world = World::ahead();
    let mut number = 1_u32;
    // Alternate 4 KiB of one byte with 4 KiB of noise.
    let bytes: Vec<u8> = (0..MOST_PACK_BYTES - 20)
        .map(|at| {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if at & 4096 == 0 { b'x' } else { number.to_be_bytes()[0] }
        })
        .collect();
    let content = write(&[Entry::Metadata { path: "x", bytes: &bytes }]);
    assert!(content.len() > MOST_PACK_BYTES - 10, "{}", content.len());
    for level in [1, 3, 6, 12] {
        let mut pack = world.question().unpack(&frame_with(
            &content,
            &world.dictionary(),
            &[CParameter::CompressionLevel(level)],
        ));
        assert!(
            pack.as_mut().unwrap().take("x") == Some(Packed::Bytes(bytes.clone())),
            "level {level}"
        );
    }
}

#[test]
fn a_truncated_pack_is_refused() {
    let world = World::ahead();
    let frame = frame(&write(&world.honest()), &world.dictionary());
    let question = world.question();
    assert!(question.unpack(&frame).is_ok());
    for length in 0..frame.len() {
        assert!(question.unpack(&frame[..length]).is_err(), "{length} of {} bytes", frame.len());
    }
}

#[test]
fn a_flipped_bit_is_refused_or_changes_nothing() {
    let world = World::ahead();
    let honest = frame(&write(&world.honest()), &world.dictionary());
    let question = world.question();
    let pack = question.unpack(&honest).unwrap();
    for bit in 0..honest.len() * 8 {
        let mut frame = honest.clone();
        frame[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = question.unpack(&frame) {
            // An unused bit of the head (RFC 8878, section 3.1.1.1.1), or a reference to the same
            // bytes elsewhere in the dictionary.
            assert_eq!(other, pack, "bit {bit}");
        }
    }
}

// Entries

#[test]
fn an_honest_pack_has_all_that_a_device_needs() {
    let world = World::ahead();
    // A repository without files: only the pack can answer.
    let nowhere = Repository { files: [].into(), ..world.repository.clone() };
    let mut device = world.device.clone();
    let pack = frame(&write(&world.honest()), &world.dictionary());
    let outcome = with_pack(&mut device, &nowhere, |question| question.unpack(&pack).unwrap());
    assert_eq!(outcome, Ok(Some(b"bin/one of version 2".to_vec())));
}

#[test]
fn no_entry_leads_where_names_could_not() {
    let world = World::ahead();
    let honest = world.honest();
    let other = Entry::Metadata { path: "2.targets.json", bytes: b"{}" };
    let without = |path: &str| {
        honest
            .iter()
            .filter(|entry| {
                !write(&[**entry])
                    .starts_with(format!("m {} {path}", world.file(path).len()).as_bytes())
            })
            .copied()
            .collect::<Vec<_>>()
    };
    let with = |entry| [vec![entry], honest.clone()].concat();
    let instead = |path: &str, entry| [vec![entry], without(path)].concat();
    let own = &world.timestamps[0][..];
    for (title, entries) in [
        ("the honest ones", honest.clone()),
        ("none", vec![]),
        ("foreign files", with(Entry::Metadata { path: "9.nobody.json", bytes: b"{}" })),
        (
            "paths that lead elsewhere",
            with(Entry::Metadata { path: "../../root.json", bytes: world.file("1.root.json") }),
        ),
        ("a root that is there is absent", vec![Entry::Absent { path: "2.root.json" }]),
        (
            "a root that is there is absent, and all else comes",
            instead("2.root.json", Entry::Absent { path: "2.root.json" }),
        ),
        (
            "the timestamp is absent",
            instead("timestamp.json", Entry::Absent { path: "timestamp.json" }),
        ),
        (
            "the snapshot is absent",
            instead("2.snapshot.json", Entry::Absent { path: "2.snapshot.json" }),
        ),
        ("a bin is absent", instead("2.bins.json", Entry::Absent { path: "2.bins.json" })),
        (
            "the device's own timestamp, kept",
            instead("timestamp.json", Entry::Kept { path: "timestamp.json" }),
        ),
        (
            "the device's own timestamp",
            instead("timestamp.json", Entry::Metadata { path: "timestamp.json", bytes: own }),
        ),
        (
            "kept, what the device doesn't have",
            instead("2.snapshot.json", Entry::Kept { path: "2.snapshot.json" }),
        ),
        ("kept, what isn't the timestamp", with(Entry::Kept { path: "1.root.json" })),
        (
            "the old snapshot in the new one's place",
            instead(
                "2.snapshot.json",
                Entry::Metadata { path: "2.snapshot.json", bytes: world.file("1.snapshot.json") },
            ),
        ),
        (
            "the old bin in the new one's place",
            instead(
                "2.bins.json",
                Entry::Metadata { path: "2.bins.json", bytes: world.file("1.bins.json") },
            ),
        ),
        (
            "the bin in the place of targets",
            instead(
                "2.targets.json",
                Entry::Metadata { path: "2.targets.json", bytes: world.file("2.bins.json") },
            ),
        ),
        (
            "the old root in the new one's place",
            instead(
                "2.root.json",
                Entry::Metadata { path: "2.root.json", bytes: world.file("1.root.json") },
            ),
        ),
        ("a wrong document", instead("2.targets.json", other)),
        (
            "a target under a document's path",
            with(Entry::Target { path: "2.targets.json", bytes: b"{}" }),
        ),
    ] {
        assert!(world.judge(&frame(&write(&entries), &world.dictionary())).is_ok(), "{title}");
    }
    for (title, content) in [
        ("a file twice", write(&with(other))),
        ("a file twice, the same", write(&with(honest[0]))),
        ("there, and absent", write(&with(Entry::Absent { path: "2.root.json" }))),
        ("another kind", [b"x 0 a\n", &write(&honest)[..]].concat()),
        ("absent, with bytes", b"a 1 3.root.json\nx".to_vec()),
        ("longer than it is", b"m 9 timestamp.json\n{}".to_vec()),
        ("of a length beyond all", b"m 18446744073709551615 timestamp.json\n{}".to_vec()),
        ("no UTF-8", b"m 0 \xff\n".to_vec()),
    ] {
        assert!(world.judge(&frame(&content, &world.dictionary())).is_err(), "{title}");
    }
}

#[test]
fn wrong_bytes_of_a_target_are_fetched_by_name() {
    let world = World::ahead();
    let honest = world.honest();
    let Some(Entry::Target { path, bytes }) = honest.last().copied() else { panic!() };
    let mut wrong = bytes.to_vec();
    wrong[0] ^= 1;
    for bytes in [&wrong[..], &bytes[1..], b"", &[bytes, b"x"].concat()] {
        let entries = [&honest[..honest.len() - 1], &[Entry::Target { path, bytes }]].concat();
        world.judge(&frame(&write(&entries), &world.dictionary())).unwrap();
    }
}

/// If a pack withholds the root that gives the timestamp a new key, the update can't continue with
/// the pack, but it can by names.
#[test]
fn a_withheld_root_is_found_by_name() {
    let world = World::new([Step::Rotate("timestamp")]);
    let mut device = world.device.clone();
    let pack = frame(&write(&[Entry::Absent { path: "2.root.json" }]), &[]);
    let outcome =
        with_pack(&mut device, &world.repository, |question| question.unpack(&pack).unwrap());
    assert_eq!(outcome, Ok(Some(b"bin/one of version 2".to_vec())));
    world.judge(&pack).unwrap();
}

/// The device believes "nothing new" only until its own timestamp expires.
#[test]
fn nothing_new_does_not_hide_that_the_timestamp_expired() {
    let mut world = World::new([]);
    world.repository.expires = "2028-01-01T00:00:00Z";
    world.repository.refresh();
    let late = Clock { now: "2027-01-01T00:00:00Z".parse().unwrap(), floor: None };
    let mut updater = Updater::open(&mut world.device, late, Limits::default()).unwrap();
    while let tufline_client::Need::File(needed) = updater.need().unwrap() {
        let bytes = world.repository.files.get(&needed.path);
        updater
            .give(bytes.map_or(tufline_client::Answer::Missing, |bytes| {
                tufline_client::Answer::Bytes(bytes)
            }))
            .unwrap();
    }
    let outcome =
        with_pack(&mut world.device.clone(), &world.repository, PackQuestion::nothing_new);
    assert!(
        outcome.as_ref().is_err_and(|told| told.contains("it expired at 2028-01-01")),
        "{outcome:?}"
    );
    world.repository.expires = "2030-01-01T00:00:00Z";
    world.repository.publish();
    let outcome = with_pack(&mut world.device, &world.repository, PackQuestion::nothing_new);
    assert_eq!(outcome, Ok(Some(b"bin/one of version 2".to_vec())));
}

/// What a hostile pack contains for one file.
#[derive(Debug, Clone)]
enum Foul {
    Right,
    Damaged {
        at: Index,
        byte: u8,
    },
    /// The bytes of another file.
    Of(Index),
    Nothing,
    Absent,
    Kept,
    /// An older or the newest timestamp.
    Timestamp(Index),
}

fn foul() -> impl Strategy<Value = Foul> {
    prop_oneof![
        4 => Just(Foul::Right),
        2 => (any::<Index>(), 1..=u8::MAX).prop_map(|(at, byte)| Foul::Damaged { at, byte }),
        1 => any::<Index>().prop_map(Foul::Of),
        1 => Just(Foul::Nothing),
        1 => Just(Foul::Absent),
        1 => Just(Foul::Kept),
        1 => any::<Index>().prop_map(Foul::Timestamp),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rotated = prop::sample::select(vec!["timestamp", "snapshot", "targets"]);
    let step = prop_oneof![
        Just(Step::Publish),
        Just(Step::Refresh),
        Just(Step::Root),
        rotated.prop_map(Step::Rotate)
    ];
    prop::collection::vec(step, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any pack, after any publications since the device's last update, leads where a server
    /// without packs could lead.
    #[test]
    fn any_pack_leads_where_names_lead(steps in steps(), fouls in prop::collection::vec((any::<Index>(), foul()), 0..12), with_dictionary in any::<bool>()) {
        let world = World::new(steps);
        let paths: Vec<&String> = world.repository.files.keys().collect();
        let next = format!("{}.root.json", world.repository.versions["root"] + 1);
        let mut entries = std::collections::BTreeMap::new();
        for (index, foul) in fouls {
            let path = paths.get(index.index(paths.len() + 1)).map_or(&next, |path| *path);
            let right = world.repository.files.get(path).cloned().unwrap_or_default();
            let bytes = match foul {
                Foul::Absent | Foul::Kept | Foul::Right => right,
                Foul::Damaged { at, byte } => {
                    let mut bytes = right;
                    if !bytes.is_empty() {
                        let at = at.index(bytes.len());
                        bytes[at] ^= byte;
                    }
                    bytes
                }
                Foul::Of(other) => world.repository.files[paths[other.index(paths.len())]].clone(),
                Foul::Nothing => vec![],
                Foul::Timestamp(which) => world.timestamps[which.index(world.timestamps.len())].clone(),
            };
            let path = if matches!(foul, Foul::Timestamp(_)) { "timestamp.json" } else { path };
            entries.insert(path.to_owned(), (foul, bytes));
        }
        let entries: Vec<_> = entries.iter().map(|(path, (foul, bytes))| match (foul, path.strip_prefix("targets/")) {
            (_, Some(path)) => Entry::Target { path, bytes },
            (Foul::Absent, _) => Entry::Absent { path },
            (Foul::Kept, _) => Entry::Kept { path },
            _ => Entry::Metadata { path, bytes },
        }).collect();
        let dictionary = if with_dictionary { world.dictionary() } else { vec![] };
        world.judge(&frame(&write(&entries), &dictionary)).unwrap();
    }

    /// Bytes that are no pack are refused, even if they begin like an honest frame.
    #[test]
    fn bytes_that_are_no_pack_are_refused(begin in 0..400_usize, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let world = World::ahead();
        let honest = frame(&write(&world.honest()), &world.dictionary());
        let begin = begin.min(honest.len());
        prop_assert!(world.question().unpack(&[&honest[..begin], &bytes].concat()).is_err());
    }
}
