use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tufline_chunks::{LARGEST_BLOB, List, list_bytes};
use tufline_store::memory::{Control, Fate, Memory, MemoryKeys, Request};
use tufline_store::{Kept, Source, Upload};

use super::*;
use crate::handle;
use crate::message::request;

/// Fails one request, by its number.
#[derive(Clone)]
struct Fails(Arc<AtomicUsize>);

impl Control for Fails {
    fn fate(&self, _: &Request<'_>) -> Fate {
        let left =
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left == Ok(1) { Fate::Failed } else { Fate::Done }
    }
}

struct World {
    memory: Arc<Memory>,
    chunker: Chunker,
    fails: Arc<AtomicUsize>,
    scratch: tempfile::TempDir,
}

fn world() -> World {
    let fails = Arc::<AtomicUsize>::default();
    let keys = Arc::new(MemoryKeys::generate().unwrap());
    let now = "2026-11-25T00:00:00Z".parse().unwrap();
    let memory = Arc::new(Memory::new(now, keys, Box::new(Fails(Arc::clone(&fails)))));
    let scratch = tempfile::tempdir().unwrap();
    let chunker = Chunker {
        blobs: memory.clone(),
        chunks: memory.clone(),
        clock: memory.clone(),
        scratch: scratch.path().to_owned(),
        turn: Mutex::default(),
    };
    World { memory, chunker, fails, scratch }
}

impl World {
    async fn blob(&self, bytes: Vec<u8>) -> Sha256 {
        let (length, sha256) = (bytes.len() as u64, Sha256::of(&bytes));
        let version = Some(self.memory.put_upload("a", bytes.into(), None, true));
        let name = "a".to_owned();
        let upload = Upload {
            name,
            version,
            length,
            custom: None,
            sha256: Some(sha256),
            uploaded: None,
            unusable: None,
        };
        assert_eq!(self.memory.keep(&upload, Source::Upload, &sha256).await.unwrap(), Kept::Whole);
        sha256
    }

    /// Chunks a blob at the fastest level, as without time: the best one takes 20 times as long.
    async fn chunk(&self, sha256: &Sha256) -> Result<Chunked> {
        let chunked = self.chunker.chunk(sha256, self.memory.now()).await;
        assert_eq!(std::fs::read_dir(self.scratch.path()).unwrap().count(), 0, "nothing is left");
        chunked
    }
}

/// Text that repeats somewhat.
fn text(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{:x} and ", state % 10_000)
    });
    words.flat_map(String::into_bytes).take(length).collect()
}

/// The blob that the chunks make.
fn unpacked(object: &Bytes, sha256: &Sha256, length: usize) -> Vec<u8> {
    let (list, mut packed) = object.split_at(list_bytes(object).unwrap());
    let list = List::read(list.to_vec(), sha256.as_bytes(), length as u64).unwrap();
    let mut whole = Vec::new();
    for entry in list.entries() {
        let (frame, rest) = packed.split_at(entry.packed as usize);
        let mut chunk = Vec::with_capacity(entry.length as usize);
        let history = whole[whole.len().saturating_sub(tufline_chunks::HISTORY)..].to_vec();
        let mut context = zstd::zstd_safe::DCtx::create();
        context.ref_prefix(&history).unwrap();
        context.decompress(&mut chunk, frame).unwrap();
        assert_eq!(tufline_chunks::digest(&chunk), entry.digest);
        whole.extend(chunk);
        packed = rest;
    }
    assert!(packed.is_empty(), "nothing stands behind the chunks");
    whole
}

#[tokio::test]
async fn the_chunks_make_the_blob() {
    let world = world();
    let noise: Vec<u8> = (0..200_000_u32)
        .flat_map(|index| Sha256::of(&index.to_le_bytes()).as_bytes()[..4].to_vec())
        .collect();
    let piece = usize::try_from(crate::pieces::PIECE).unwrap();
    for bytes in [text(64 << 10), text(3 * piece + 17), text(2 * piece), vec![0; 300_000], noise] {
        let sha256 = world.blob(bytes.clone()).await;
        let stored = world.chunk(&sha256).await.unwrap();
        let object = world.memory.chunks(&sha256).unwrap();
        assert!(
            matches!(stored, Chunked::Stored { bytes, .. } if bytes == object.len() as u64),
            "{stored:?}"
        );
        assert!(unpacked(&object, &sha256, bytes.len()) == bytes);
        assert_eq!(world.chunk(&sha256).await.unwrap(), Chunked::There);
    }
}

#[tokio::test]
async fn what_is_not_cut_is_left() {
    let world = world();
    for length in [0, 1, (64 << 10) - 1] {
        let sha256 = world.blob(vec![7; length]).await;
        assert_eq!(world.chunk(&sha256).await.unwrap(), Chunked::NotCut);
        assert_eq!(world.memory.chunks(&sha256), None);
    }
    assert_eq!(world.chunk(&Sha256::of(b"missing")).await.unwrap(), Chunked::NoBlob);
    assert!(is_cut(LARGEST_BLOB) && !is_cut(LARGEST_BLOB + 1));
}

#[tokio::test]
async fn whatever_fails_leaves_nothing_and_the_next_run_makes_it() {
    let world = world();
    let bytes = text(5 << 20);
    let sha256 = world.blob(bytes.clone()).await;
    let mut failures = 0;
    for number in 1.. {
        world.fails.store(number, Ordering::SeqCst);
        match world.chunk(&sha256).await {
            Err(_) => failures += 1,
            Ok(stored) => {
                assert!(matches!(stored, Chunked::Stored { .. }));
                break;
            }
        }
        assert_eq!(world.memory.chunks(&sha256), None, "after a failure of request {number}");
    }
    assert_eq!(
        failures,
        2 + 2 * 3 + 1,
        "each request failed once: two looks, three pieces twice, and the creation"
    );
    assert!(unpacked(&world.memory.chunks(&sha256).unwrap(), &sha256, bytes.len()) == bytes);
}

#[tokio::test]
async fn a_blob_that_ends_early_has_no_chunks() {
    let world = world();
    let sha256 = world.blob(text(100_000)).await;
    let blobs: Arc<dyn Blobs> = world.memory.clone();
    let counted = |pieces| count(pieces, USUAL_AVERAGE).map_err(|error| failed("count", "", error));
    let error = read_through(&blobs, &sha256, 100_001, counted).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
}

#[test]
fn a_blob_that_changes_while_it_is_read_is_refused() {
    let (bytes, mut file) = (text(500_000), tempfile::tempfile().unwrap());
    let count = count(&bytes[..], USUAL_AVERAGE).unwrap().unwrap();
    let cut = |count, length| Cut { sha256: [7; 32], length, average: USUAL_AVERAGE, count };
    assert!(pack(&bytes[..], &cut(count, 500_000), |_| 1, &mut file).is_ok());
    for (read, cut) in [(499_999, cut(count, 500_000)), (500_000, cut(count + 1, 500_000))] {
        assert!(pack(&bytes[..read], &cut, |_| 1, &mut tempfile::tempfile().unwrap()).is_err());
    }
}

#[test]
fn too_many_chunks_are_cut_coarser() {
    // Bytes that are cut everywhere give the shortest chunks. An endless reader has too many in any
    // case.
    assert_eq!(count(std::io::repeat(0), USUAL_AVERAGE).unwrap(), None);
    let averages: Vec<u32> =
        std::iter::successors(Some(USUAL_AVERAGE), |average| next_average(*average)).collect();
    assert_eq!(averages, [8 << 10, 16 << 10, 32 << 10, 64 << 10]);
}

/// Two processes may share the folder, as two functions do on one machine.
#[tokio::test]
async fn another_processs_file_stays_and_a_dead_ones_goes() {
    let world = world();
    let file = |process: u32| world.scratch.path().join(format!("chunks.{process}"));
    let (living, dead) = (file(std::os::unix::process::parent_id()), file(u32::MAX));
    for path in [&living, &dead] {
        std::fs::write(path, "of another process").unwrap();
    }
    let sha256 = world.blob(text(100_000)).await;
    let chunked = world.chunker.chunk(&sha256, Time::MAX).await.unwrap();
    assert!(matches!(chunked, Chunked::Stored { .. }), "{chunked:?}");
    assert!(!dead.exists());
    assert_eq!(std::fs::read_to_string(living).unwrap(), "of another process");
}

#[tokio::test]
async fn a_batch_answers_for_each_message() {
    let world = world();
    let sha256 = world.blob(text(100_000)).await;
    let request = request(sha256).unwrap();
    let answers = handle(&world.chunker, Time::MAX, &[&request, "x", &request]).await;
    assert!(answers[0].is_none() && answers[1].is_some() && answers[2].is_none(), "{answers:?}");
    assert!(world.memory.chunks(&sha256).is_some());
}

/// A time that is over makes the run quick, and the chunks are whole.
#[tokio::test]
async fn without_time_it_packs_less() {
    let (world, in_time) = (world(), world());
    let bytes = text(300_000);
    let (sha256, _) = (world.blob(bytes.clone()).await, in_time.blob(bytes.clone()).await);
    world.chunk(&sha256).await.unwrap();
    in_time.chunker.chunk(&sha256, Time::MAX).await.unwrap();
    let [hasty, best] = [&world, &in_time].map(|world| world.memory.chunks(&sha256).unwrap());
    assert!(hasty.len() > best.len());
    for object in [hasty, best] {
        assert!(unpacked(&object, &sha256, bytes.len()) == bytes);
    }
}
