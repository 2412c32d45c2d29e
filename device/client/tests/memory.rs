//! The memory that the worst packs take. This file has only one test, since the allocator counts
//! all threads of the process together.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/encoder.rs"]
mod encoder;
#[path = "common/repository.rs"]
mod repository;

use std::iter::repeat_n;

use peak_alloc::PeakAlloc;
use serde_json::json;
use tufline_client::{Clock, Limits, MOST_PACK_BYTES, MemoryStorage, PackQuestion, Updater};
use tufline_pack::MOST_ENTRIES;

use encoder::{BLOCK, Block, WINDOW, by_hand, frame};
use repository::{Repository, TARGET};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The most memory that unpacking a pack takes besides the pack itself, in bytes: twice the window
/// while it grows, the content, and the dictionary.
const MOST_TAKEN: usize = 30 << 20;

/// A question of a device whose stored files fill a dictionary, and those files.
fn question() -> (PackQuestion, Vec<Vec<u8>>) {
    let repository = Repository::new();
    let mut device = MemoryStorage::default();
    tufline_client::begin_with(&mut device, &repository.files["1.root.json"]).unwrap();
    for (role, fields) in [
        ("snapshot", json!({"meta": {"targets.json": {"version": 1}}})),
        ("targets", json!({"targets": {}})),
    ] {
        let mut file = repository::file(&repository.document(role, 1, &fields), &[]);
        file.resize(Limits::default().targets - 1, b' ');
        device.0.insert(format!("{role}.json"), file);
    }
    let files =
        ["root", "snapshot", "targets"].map(|role| device.0[&format!("{role}.json")].clone());
    let clock = Clock { now: "2029-01-01T00:00:00Z".parse().unwrap(), floor: None };
    let question = Updater::open(device, clock, Limits::default())
        .unwrap()
        .pack_question(&[TARGET], &[])
        .unwrap();
    (question, files.into())
}

#[test]
fn no_pack_takes_much_memory() {
    let (question, files) = question();
    let dictionary = tufline_pack::dictionary(&files);
    assert!(
        question.query().contains(&format!("dict={}", tufline_pack::digest(&files))),
        "{}",
        question.query()
    );
    let most = MOST_PACK_BYTES;
    let length = most - "m 4194304 x\n".len();
    let file = format!("m {length} x\n{}", "y".repeat(length)).into_bytes();
    let entries = |count: usize, kind: &str| {
        (0..count).map(|number| format!("{kind} 0 {number}\n")).collect::<Vec<_>>().concat()
    };
    let said = u64::try_from(most).unwrap();
    let repeated: Vec<_> = repeat_n((), 1000).map(|()| Block::Repeated(b'x', BLOCK)).collect();
    // One literal, repeated 1,048,575 times (RFC 8878, section 3.1.1.3.1.1), and no sequences. That
    // is longer than a block may be.
    let literals: Vec<_> =
        repeat_n((), 1000).map(|()| Block::Compressed(&[0xfd, 0xff, 0xff, b'x', 0])).collect();
    let nothing: Vec<_> = repeat_n((), most / 3 - 10).map(|()| Block::Raw(b"")).collect();
    // A Huffman table of 2,048 entries and no literal. Building one takes 40 µs, so a whole pack of
    // them would take 20 s.
    let tables: Vec<_> = repeat_n((), most / 10 - 10)
        .map(|()| Block::Compressed(&[2, 0xc0, 0, 0x80, 0xb0, 1, 0]))
        .collect();
    // A table of a million codes without a share (RFC 8878, section 4.1.1), in a full window.
    let codes = [&[0, 1, 0x80, 0x10, 0xfe][..], &vec![0xff; BLOCK - 5]].concat();
    let full = repeat_n((), 31)
        .map(|()| Block::Repeated(b'x', BLOCK))
        .chain([Block::Compressed(&codes)])
        .collect::<Vec<_>>();
    for (title, pack, is_pack) in [
        ("the largest pack", frame(&file, &dictionary), true),
        ("the largest path", frame(format!("a 0 {}\n", "x".repeat(length)).as_bytes(), &[]), true),
        (
            "as many entries as a pack may have",
            frame(entries(MOST_ENTRIES, "m").as_bytes(), &[]),
            true,
        ),
        ("300,000 entries", frame(entries(300_000, "a").as_bytes(), &[]), false),
        ("a block that repeats a byte", by_hand(said, WINDOW, &repeated[..32], &[]), false),
        ("a thousand such blocks", by_hand(said, WINDOW, &repeated, &[]), false),
        ("literals longer than a block may be", by_hand(said, WINDOW, &literals, &[]), false),
        ("a table of a million codes", by_hand(said, WINDOW, &full, &[]), false),
        ("blocks of nothing", by_hand(0, WINDOW, &nothing, &[]), false),
        ("blocks of tables", by_hand(0, WINDOW, &tables, &[]), false),
        ("a length of 4 GB", by_hand(4 << 30, WINDOW, &repeated, &[]), false),
        ("a window of 1 GB", by_hand(said, 20 << 3, &repeated, &[]), false),
    ] {
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let told = question.unpack(&pack);
        let taken = HEAP.peak_usage() - before;
        println!(
            "{title}: {} KiB for {} bytes: {:?}",
            taken >> 10,
            pack.len(),
            told.as_ref().err()
        );
        assert_eq!(told.is_ok(), is_pack, "{title}: {:?}", told.err());
        assert!(taken < MOST_TAKEN, "{title}: {taken} bytes");
    }
}
