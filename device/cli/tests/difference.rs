//! Images by difference, over real connections. The chunks are packed by Zstandard's own library.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::repository::{self, Repository};
use common::{Server, answer, answers, device};
use proptest::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};
use tufline_chunks::{Cutter, ListWriter};
use tufline_device::{Device, Failure, FetchedTarget, Settings};
use zstd::zstd_safe::CCtx;

/// Bytes that don't pack, and are the same each time (xorshift).
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// An image, and the next one: some of it is other, and some was put in.
fn images() -> (Vec<u8>, Vec<u8>) {
    let old = noise(1_000_000, 1);
    let mut new = old.clone();
    new.splice(700_000..700_000, noise(5_000, 2));
    new.splice(300_000..310_000, noise(10_000, 3));
    (old, new)
}

/// A repository with this target.
fn repository(target: &[u8]) -> Repository {
    let mut repository = Repository::new();
    let listed =
        json!({"length": target.len(), "hashes": {"sha256": hex::encode(Sha256::digest(target))}});
    let signed = repository.document("targets", 1, &json!({"targets": {"image": listed}}));
    repository.files.insert(
        "1.targets.json".to_owned(),
        repository::file(&signed, &repository.keys["targets"]),
    );
    repository
}

/// The list and the packed chunks of `content`, said to be those of `blob`.
fn chunks(content: &[u8], blob: &[u8]) -> Vec<u8> {
    packed(content, blob, 16 << 10, <[u8]>::to_vec)
}

/// One chunk, with the bytes before it.
fn pack(chunk: &[u8], history: &[u8]) -> Vec<u8> {
    let mut context = CCtx::create();
    context.ref_prefix(history).unwrap();
    let mut frame = Vec::with_capacity(chunk.len() + 1000);
    context.compress2(&mut frame, chunk).unwrap();
    frame
}

/// The same, with other bytes in place of each chunk's.
fn packed(content: &[u8], blob: &[u8], average: u32, other: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    with_frames(content, blob, average, |chunk, history| pack(&other(chunk), history))
}

/// The same, with these frames of each chunk and the bytes before it.
fn with_frames(
    content: &[u8],
    blob: &[u8],
    average: u32,
    frame: impl Fn(&[u8], &[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let (mut cutter, mut list, mut packed) =
        (Cutter::new(content, average), ListWriter::new(average), Vec::new());
    let mut offset = 0_usize;
    while let Some(chunk) = cutter.next_chunk().unwrap() {
        let frame = frame(chunk, &content[offset.saturating_sub(32 << 10)..offset]);
        offset += chunk.len();
        list.add(chunk, frame.len().try_into().unwrap());
        packed.extend(frame);
    }
    let list = list.finish(&Sha256::digest(blob).into()).unwrap();
    [list.bytes(), &packed].concat()
}

/// The bytes that a request asks for, of so many.
fn asked_range(fields: &BTreeMap<String, String>, length: usize) -> Range<usize> {
    let Some(range) = fields.get("range") else { return 0..length };
    let (begin, end) = range["bytes=".len()..].split_once('-').unwrap();
    let end = end.parse().map_or(length, |end: usize| (end + 1).min(length));
    begin.parse().unwrap()..end
}

fn part(object: &[u8], fields: &BTreeMap<String, String>) -> Vec<u8> {
    let range = asked_range(fields, object.len());
    if range.start >= range.end {
        return answer("416 Range Not Satisfiable", "", b"");
    }
    if !fields.contains_key("range") {
        return answer("200 OK", "", object);
    }
    let place =
        format!("content-range: bytes {}-{}/{}\r\n", range.start, range.end - 1, object.len());
    answer("206 Partial Content", &place, &object[range])
}

/// A repository on a server, and a device with an old image.
struct Scene {
    folder: tempfile::TempDir,
    server: Server,
    repository: Repository,
    new: Vec<u8>,
}

impl Scene {
    /// `chunked` answers requests for the chunks, by their fields.
    fn new(
        old: &[u8],
        new: &[u8],
        chunked: impl Fn(&BTreeMap<String, String>) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let repository = repository(new);
        let target = new.to_vec();
        let server = Server::start(answers(&repository, move |path, fields| {
            if path.starts_with("/chunks/") { chunked(fields) } else { part(&target, fields) }
        }));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("old"), old).unwrap();
        Self { folder, server, repository, new: new.to_vec() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> Settings {
        device(self.folder.path(), &self.repository, &self.server.url)
    }

    fn fetch(&self) -> Result<FetchedTarget, Failure> {
        self.fetch_with(self.settings())
    }

    fn fetch_with(&self, settings: Settings) -> Result<FetchedTarget, Failure> {
        let fetched = Device::open(settings)?.find_and_fetch(
            "image",
            &self.path("new"),
            Some(&self.path("old")),
        )?;
        assert_eq!(fs::read(self.path("new")).unwrap(), self.new, "the right bytes, or an error");
        let left =
            fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.as_encoded_bytes().starts_with(b".")).collect();
        assert!(left.is_empty(), "{left:?}");
        Ok(fetched)
    }

    /// The ranges of chunks that were asked for.
    fn asked(&self) -> Vec<String> {
        let asked =
            self.server.asked().into_iter().filter(|(path, _)| path.starts_with("/chunks/"));
        asked.map(|(_, fields)| fields["range"].clone()).collect()
    }
}

#[test]
fn what_the_old_image_has_does_not_come() {
    let (old, new) = images();
    let object = chunks(&new, &new);
    let scene = Scene::new(&old, &new, move |fields| part(&object, fields));
    let fetched = scene.fetch().unwrap();
    assert!(fetched.received < 120_000, "{fetched:?}");
    assert!(fetched.copied > 900_000 && fetched.whole_because.is_none(), "{fetched:?}");
    let asked = scene.asked();
    assert!((2..=4).contains(&asked.len()), "the list, and two places that changed: {asked:?}");
}

#[test]
fn without_chunks_it_comes_whole_and_says_so() {
    let (old, new) = images();
    let good = chunks(&new, &new);
    let with = |at: usize, byte: u8| {
        let mut damaged = good.clone();
        damaged[at] ^= byte;
        damaged
    };
    for (object, why) in [
        (b"<html>Not here</html>".repeat(10), "it doesn't begin as a list does"),
        (chunks(&old, &old), "another target"),
        (with(100, 1), "damaged in transit"),
        (good[..5000].to_vec(), "end too early"),
        (good[..500].to_vec(), "end too early"),
    ] {
        let scene = Scene::new(&old, &new, move |fields| part(&object, fields));
        let fetched = scene.fetch().unwrap();
        let since = fetched.whole_because.clone().unwrap_or_default();
        assert!(since.contains(why), "{why}: {fetched:?}");
        let most = fetched.length + 100_000;
        assert!(fetched.received <= most, "one plain download: {fetched:?}");
    }
    let scene = Scene::new(&old, &new, |_| answer("404 Not Found", "", b""));
    assert!(scene.fetch().unwrap().whole_because.unwrap().contains("no chunks"));
    // A server that knows no parts of files.
    let object = good.clone();
    let scene = Scene::new(&old, &new, move |_| answer("200 OK", "", &object));
    assert!(scene.fetch().unwrap().whole_because.unwrap().contains("no parts"));
    // An old image that has nothing of it.
    let object = packed(&new, &new, 4 << 10, <[u8]>::to_vec);
    let scene = Scene::new(&noise(1_000_000, 8), &new, move |fields| part(&object, fields));
    assert!(scene.fetch().unwrap().whole_because.unwrap().contains("as many bytes"));
    assert_eq!(scene.asked().len(), 2, "the list alone, which is longer than most");
    // No old image.
    let scene = Scene::new(&old, &new, move |fields| part(&good, fields));
    fs::remove_file(scene.path("old")).unwrap();
    assert!(scene.fetch().unwrap().whole_because.unwrap().contains("No such file"));
}

/// A hostile list costs one plain download, and never a wrong byte.
#[test]
fn who_lies_is_found_out() {
    let (old, new) = images();
    // Chunks that are what the list says, and another file: of the same length, and mostly the old one.
    let mut other = new.clone();
    other.splice(500_000..500_100, noise(100, 9));
    let object = chunks(&other, &new);
    let scene = Scene::new(&old, &new, move |fields| part(&object, fields));
    let fetched = scene.fetch().unwrap();
    assert!(
        fetched.whole_because.is_some() && fetched.received < fetched.length + 200_000,
        "{fetched:?}"
    );
    // Chunks that aren't what the list says: no frames, other bytes, more bytes, fewer.
    let mut damaged = chunks(&new, &new);
    let begin = tufline_chunks::list_bytes(&damaged).unwrap();
    damaged[begin..].iter_mut().for_each(|byte| *byte ^= 0x55);
    let others = [
        packed(&new, &new, 16 << 10, |chunk| chunk.iter().map(|byte| !byte).collect()),
        packed(&new, &new, 16 << 10, |chunk| [chunk, b"more"].concat()),
        packed(&new, &new, 16 << 10, |chunk| chunk[1..].to_vec()),
    ];
    for object in [damaged].into_iter().chain(others) {
        let scene = Scene::new(&old, &new, move |fields| part(&object, fields));
        let fetched = scene.fetch().unwrap();
        assert!(
            fetched.whole_because.as_ref().unwrap().contains("not what its list says"),
            "{fetched:?}"
        );
        assert!(fetched.received < fetched.length + 300_000, "{fetched:?}");
    }
}

/// What misled once is not asked again: the target goes on whole.
#[test]
fn a_list_that_misled_is_not_believed_after_a_kill() {
    let (old, new) = images();
    let mut other = new.clone();
    other[500_000] ^= 1;
    let object = chunks(&other, &new);
    let repository = repository(&new);
    let (target, is_there) = (new.clone(), Arc::new(AtomicUsize::new(0)));
    let open = is_there.clone();
    let server = Server::start(answers(&repository, move |path, fields| match path {
        path if path.starts_with("/chunks/") => part(&object, fields),
        _ if open.load(Ordering::Relaxed) == 0 => answer("403 Forbidden", "", b""),
        _ => part(&target, fields),
    }));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("old"), old).unwrap();
    let scene = Scene { folder, server, repository, new };
    assert!(matches!(scene.fetch(), Err(Failure::Network { .. })));
    assert!(!scene.asked().is_empty());
    is_there.store(1, Ordering::Relaxed);
    let fetched = scene.fetch().unwrap();
    assert!(fetched.whole_because.unwrap().contains("last time"));
    assert!(scene.asked().is_empty(), "its list isn't asked for");
}

#[test]
fn a_seed_that_changes_while_it_is_read_costs_bytes_only() {
    let (old, new) = images();
    let object = chunks(&new, &new);
    let folder = Arc::new(Mutex::new(PathBuf::new()));
    let (place, asked) = (folder.clone(), AtomicUsize::new(0));
    let scene = Scene::new(&old, &new, move |fields| {
        // The seed has been searched when the first chunk is asked for.
        if asked.fetch_add(1, Ordering::Relaxed) == 1 {
            let path = place.lock().unwrap().join("old");
            let mut seed = fs::read(&path).unwrap();
            seed[500_000..600_000].copy_from_slice(&noise(100_000, 7));
            seed.truncate(900_000);
            fs::write(&path, seed).unwrap();
        }
        part(&object, fields)
    });
    scene.path("").clone_into(&mut folder.lock().unwrap());
    let fetched = scene.fetch().unwrap();
    assert!(
        fetched.whole_because.is_none() && (200_000..500_000).contains(&fetched.received),
        "{fetched:?}"
    );
}

#[test]
fn a_budget_is_looked_at_before_the_first_byte() {
    let (old, new) = images();
    let object = chunks(&new, &new);
    let list = tufline_chunks::list_bytes(&object).unwrap();
    let scene = Scene::new(&old, &new, move |fields| part(&object, fields));
    let settings = Settings { max_bytes: Some(30_000), ..scene.settings() };
    let told = scene.fetch_with(settings).unwrap_err();
    let Failure::Budget { what, needs, left } = &told else { panic!("{told}") };
    assert_eq!(what, "image");
    assert!(needs > left && *left < 30_000, "{told}");
    assert_eq!(scene.asked().len(), 1, "the list alone");
    // It is enough for the difference; the whole would be too much.
    let settings = Settings { max_bytes: Some(needs + list as u64 + 5_000), ..scene.settings() };
    scene.fetch_with(settings).unwrap();
    let scene = Scene::new(&old, &new, |_| answer("404 Not Found", "", b""));
    let told =
        scene.fetch_with(Settings { max_bytes: Some(500_000), ..scene.settings() }).unwrap_err();
    assert!(
        told.to_string().contains("image (whole, since the server has no chunks of it)"),
        "{told}"
    );
    assert_eq!(told.kind(), "budget");
}

#[test]
fn a_page_in_the_place_of_chunks_is_waited_out() {
    let (old, new) = images();
    let object = chunks(&new, &new);
    let asked = AtomicUsize::new(0);
    let scene = Scene::new(&old, &new, move |fields| match asked.fetch_add(1, Ordering::Relaxed) {
        // Before the list, and before the first chunk.
        0 | 1 | 3 => answer(
            "200 OK",
            "content-type: text/html\r\n",
            &b"<html>Welcome to our hotel".repeat(20),
        ),
        _ => part(&object, fields),
    });
    let fetched = scene.fetch_with(Settings { tries: 5, ..scene.settings() }).unwrap();
    assert!(fetched.whole_because.is_none() && fetched.received < 120_000, "{fetched:?}");
}

#[test]
fn one_link_is_used_until_it_expires() {
    let (old, new) = images();
    let object = chunks(&new, &new);
    let uses = AtomicUsize::new(0);
    let store = Server::start(Box::new(move |path, fields| {
        // Each link is good for two requests.
        let expired = format!("/{}", uses.fetch_add(1, Ordering::Relaxed) / 2) != path;
        if expired {
            uses.fetch_sub(1, Ordering::Relaxed);
            return answer("403 Forbidden", "", b"<Error><Code>AccessDenied</Code></Error>");
        }
        part(&object, fields)
    }));
    let (url, links) = (store.url.clone(), AtomicUsize::new(0));
    let scene = Scene::new(&old, &new, move |_| {
        let link = links.fetch_add(1, Ordering::Relaxed);
        answer("307 Temporary Redirect", &format!("location: {url}/{link}\r\n"), b"")
    });
    let fetched = scene.fetch().unwrap();
    assert!(fetched.whole_because.is_none(), "{fetched:?}");
    let (asked, stored) = (scene.asked().len(), store.asked().len());
    assert!(asked < stored && asked <= 2, "{asked} {stored}");
}

/// Cuts an answer after so many bytes of its body.
fn cut(answer: &[u8], most: usize) -> Vec<u8> {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    answer[..answer.len().min(head + most)].to_vec()
}

/// A device is cut off after each few bytes, and its program begins again each time: what came stays.
#[test]
fn cuts_and_restarts_cost_nothing_that_came() {
    let (old, new) = images();
    let object = chunks(&new, &new);
    let difference = Scene::new(&old, &new, {
        let object = object.clone();
        move |fields| part(&object, fields)
    });
    let difference = difference.fetch().unwrap().received;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let scene = Scene::new(&old, &new, move |fields| {
        let answer = cut(&part(&object, fields), 3_000);
        counted.fetch_add(answer.len(), Ordering::Relaxed);
        answer
    });
    let mut runs = 0;
    loop {
        runs += 1;
        match scene.fetch_with(Settings { tries: 1, ..scene.settings() }) {
            Ok(fetched) => break assert!(fetched.whole_because.is_none(), "{fetched:?}"),
            Err(Failure::Network { .. }) => assert!(runs < 200),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(runs > 15, "{runs}");
    let sent = sent.load(Ordering::Relaxed) as u64;
    assert!(
        sent * 10 <= difference * 11 + runs * 1_500,
        "{sent} in {runs} runs, {difference} at once"
    );
}

/// One thing that happens to an image.
#[derive(Debug, Clone)]
enum Edit {
    Insert(usize, usize),
    Remove(usize, usize),
    Replace(usize, usize),
    Move(usize, usize, usize),
    Zeros(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let (at, length) = (0_usize..200_000, 1_usize..40_000);
    prop_oneof![
        (at.clone(), length.clone()).prop_map(|(at, length)| Edit::Insert(at, length)),
        (at.clone(), length.clone()).prop_map(|(at, length)| Edit::Remove(at, length)),
        (at.clone(), length.clone()).prop_map(|(at, length)| Edit::Replace(at, length)),
        (at.clone(), length.clone(), at.clone())
            .prop_map(|(at, length, to)| Edit::Move(at, length, to)),
        (at, length.prop_map(|length| 8 * length)).prop_map(|(at, length)| Edit::Zeros(at, length)),
    ]
}

fn edited(old: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut new = old.to_vec();
    for (number, edit) in edits.iter().enumerate() {
        let part = |at: usize, length: usize| at.min(new.len())..(at + length).min(new.len());
        match *edit {
            Edit::Insert(at, length) => {
                drop(new.splice(part(at, 0), noise(length, number as u64 + 50)));
            }
            Edit::Remove(at, length) => drop(new.splice(part(at, length), [])),
            Edit::Replace(at, length) => {
                drop(new.splice(part(at, length), noise(length, number as u64 + 90)));
            }
            Edit::Zeros(at, length) => drop(new.splice(part(at, 0), vec![0; length])),
            Edit::Move(at, length, to) => {
                let moved: Vec<u8> = new.drain(part(at, length)).collect();
                let to = to.min(new.len());
                drop(new.splice(to..to, moved));
            }
        }
    }
    new
}

fn run(old: &[u8], new: &[u8], most: usize) -> FetchedTarget {
    let object = chunks(new, new);
    let scene = Scene::new(old, new, move |fields| cut(&part(&object, fields), most));
    scene.fetch_with(Settings { tries: 8, ..scene.settings() }).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever changed, and wherever answers end, it is the new image.
    #[test]
    fn it_is_the_new_image(edits in prop::collection::vec(edit(), 0..4), most in 20_000_usize..200_000) {
        let old = noise(200_000, 5);
        let new = edited(&old, &edits);
        let fetched = run(&old, &new, most);
        prop_assert!(fetched.received <= fetched.length + 20_000);
    }
}

#[test]
fn what_stands_twice_comes_once() {
    let old = noise(100_000, 1);
    let once = noise(300_000, 2);
    let new = [once.clone(), old.clone(), once].concat();
    let fetched = run(&old, &new, usize::MAX / 2);
    assert!(fetched.received < 400_000, "{fetched:?}");
}

#[test]
fn the_seed_may_be_where_the_target_goes() {
    let (old, new) = images();
    let object = chunks(&new, &new);
    let scene = Scene::new(&old, &new, move |fields| part(&object, fields));
    let both: &Path = &scene.path("old");
    let fetched =
        Device::open(scene.settings()).unwrap().find_and_fetch("image", both, Some(both)).unwrap();
    assert!(fetched.copied > 0 && fetched.received < 120_000, "{fetched:?}");
    assert_eq!(fs::read(both).unwrap(), new);
}

/// Zstandard's own library makes two blocks of chunks above 128 KiB; others may of shorter ones.
#[test]
fn frames_of_two_blocks_are_read() {
    let (old, new) = images();
    let two_blocks = |chunk: &[u8], _: &[u8]| {
        let raw = |bytes: &[u8], is_last: bool| {
            let header = (u32::try_from(bytes.len()).unwrap() << 3) | u32::from(is_last);
            [&header.to_le_bytes()[..3], bytes].concat()
        };
        let (begin, end) = chunk.split_at(chunk.len() / 2);
        let length = u32::try_from(chunk.len()).unwrap().to_le_bytes();
        // RFC 8878, section 3.1.1: the magic number, one segment with a length of four bytes.
        let head = [&b"\x28\xb5\x2f\xfd\xa0"[..], &length].concat();
        [head, raw(begin, false), raw(end, true)].concat()
    };
    let object = with_frames(&new, &new, 16 << 10, two_blocks);
    let scene = Scene::new(&old, &new, move |fields| part(&object, fields));
    let fetched = scene.fetch().unwrap();
    assert!(fetched.whole_because.is_none() && fetched.received < 120_000, "{fetched:?}");
}

#[test]
fn a_page_is_no_progress_however_long_it_is() {
    let new = noise(8_000_000, 4);
    let page = b"<html>Welcome to our hotel".repeat(5_000);
    let scene = Scene::new(&new[..1_000_000], &new, move |_| answer("200 OK", "", &page));
    let told = scene.fetch_with(Settings { tries: 3, ..scene.settings() }).unwrap_err();
    assert!(matches!(told, Failure::Network { .. }), "{told}");
    assert_eq!(scene.asked().len(), 3);
}

/// Chunks that fit a lying list come first, and then there are none: nothing is built on them.
#[test]
fn what_came_by_chunks_is_no_beginning_of_a_whole_download() {
    let (old, new) = images();
    let mut other = new.clone();
    other.splice(500_000..500_100, noise(100, 9));
    let object = chunks(&other, &new);
    let asked = AtomicUsize::new(0);
    let scene = Scene::new(&old, &new, move |fields| match asked.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => part(&object, fields),
        _ => answer("404 Not Found", "", b""),
    });
    let fetched = scene.fetch().unwrap();
    assert!(fetched.received < fetched.length + 200_000, "one plain download: {fetched:?}");
}

/// One lie under a budget costs no more than the runs in which it is told.
#[test]
fn a_lie_blocks_no_later_update_under_a_budget() {
    let (old, new) = images();
    let mut other = new.clone();
    other[500_000] ^= 1;
    let (lie, truth) = (chunks(&other, &new), chunks(&new, &new));
    let is_honest = Arc::new(AtomicUsize::new(0));
    let honest = is_honest.clone();
    let scene = Scene::new(&old, &new, move |fields| {
        part(if honest.load(Ordering::Relaxed) == 0 { &lie } else { &truth }, fields)
    });
    let settings = || Settings { max_bytes: Some(900_000), ..scene.settings() };
    assert_eq!(scene.fetch_with(settings()).unwrap_err().kind(), "budget");
    is_honest.store(1, Ordering::Relaxed);
    let fetched = scene.fetch_with(settings()).unwrap();
    assert!(fetched.whole_because.is_none(), "{fetched:?}");
}

/// Chunks that were packed anew since their list came are asked for with a new list.
#[test]
fn chunks_that_were_packed_anew_are_no_lie() {
    let (old, new) = images();
    let (before, after) = (chunks(&new, &new), packed(&new, &new, 8 << 10, <[u8]>::to_vec));
    let asked = AtomicUsize::new(0);
    let scene = Scene::new(&old, &new, move |fields| {
        part(if asked.fetch_add(1, Ordering::Relaxed) == 0 { &before } else { &after }, fields)
    });
    let fetched = scene.fetch().unwrap();
    assert!(fetched.received < 200_000, "by difference: {fetched:?}");
    assert_eq!(scene.asked().iter().filter(|range| range.starts_with("bytes=0-")).count(), 2);
}

/// A compressed answer may have any number of bytes that mean nothing: they count as they are sent.
#[test]
fn bytes_that_mean_nothing_are_counted() {
    let (old, new) = images();
    let empty =
        [b"\x1f\x8b\x08\0\0\0\0\0\0\xff".as_slice(), &b"\0\0\0\xff\xff".repeat(400_000)].concat();
    let packed = empty.clone();
    let gzip = "content-encoding: gzip\r\n";
    let scene = Scene::new(&old, &new, move |_| answer("200 OK", gzip, &packed));
    let told = scene.fetch_with(Settings { tries: 2, ..scene.settings() }).unwrap_err();
    assert!(told.to_string().contains("compressed"), "{told}");
    let server = Server::start(Box::new(move |_, _| answer("200 OK", gzip, &empty)));
    let settings = Settings { max_bytes: Some(100_000), ..scene.settings() };
    let settings = Settings { metadata_url: server.url.clone(), ..settings };
    let told = Device::open(settings).unwrap().refresh().unwrap_err();
    assert_eq!(told.kind(), "budget", "{told}");
    let settings = Settings { metadata_url: server.url.clone(), tries: 1, ..scene.settings() };
    let mut device = Device::open(settings).unwrap();
    device.refresh().unwrap_err();
    assert!(device.received() <= 1_000_000, "a document has a limit: {}", device.received());
}

/// Packed, the last bytes may be more than plain: what came by chunks is gone on with all the same.
#[test]
fn the_last_chunk_comes_as_the_others_did() {
    let old = noise(1_000_000, 1);
    let new = [old.clone(), noise(5_000, 2)].concat();
    let object = chunks(&new, &new);
    let asked = AtomicUsize::new(0);
    let scene = Scene::new(&old, &new, move |fields| {
        let answer = part(&object, fields);
        // The list comes, and nothing of the last chunk.
        if asked.fetch_add(1, Ordering::Relaxed) == 1 { cut(&answer, 0) } else { answer }
    });
    scene.fetch_with(Settings { tries: 1, ..scene.settings() }).unwrap_err();
    let fetched = scene.fetch().unwrap();
    assert!(fetched.whole_because.is_none() && fetched.received < 60_000, "{fetched:?}");
}
