//! Tests what the worst questions of strangers cost.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tufline_pack::{MOST_DOCUMENTS, MOST_HAVE, TABLES_ID};
use tufline_store::memory::{Control, Fate, Memory, MemoryKeys, Request};
use tufline_store::{Blobs, Kept, Source, Upload};
use tufline_tuf::Sha256;

use super::*;

/// How many requests of the store a question makes at most: a timestamp, a snapshot, roots, 32
/// files of a dictionary, 48 documents, and 4 small targets with their lengths. A repeated question
/// finds everything but the timestamp, the roots and the targets in memory.
const MOST_READS: usize = 110;
const MOST_READS_AGAIN: usize = 30;

/// A [`Control`] that counts requests.
struct Counted(Arc<AtomicUsize>);

impl Control for Counted {
    fn fate(&self, _: &Request<'_>) -> Fate {
        self.0.fetch_add(1, Ordering::SeqCst);
        Fate::Done
    }
}

struct World {
    memory: Arc<Memory>,
    repository: ServedRepository,
    reads: Arc<AtomicUsize>,
    /// The roles that the snapshot lists.
    roles: Vec<String>,
}

fn document(kind: &str, version: u64, fields: &str) -> String {
    format!(
        "{{\"signatures\":[],\"signed\":{{\"_type\":\"{kind}\",\"spec_version\":\"1.0.34\",\"version\":{version},\"expires\":\"2030-01-01T00:00:00Z\",{fields}}}}}"
    )
}

impl World {
    /// Makes a repository with bins eight digits deep below each first digit, 31 roles of other
    /// parties, and 100 roots. Every role but root has two versions: the one that devices have, and
    /// the next.
    async fn new() -> Self {
        let reads = Arc::<AtomicUsize>::default();
        let keys = Arc::new(MemoryKeys::generate().unwrap());
        let now = "2026-11-25T00:00:00Z".parse().unwrap();
        let memory = Arc::new(Memory::new(now, keys, Box::new(Counted(Arc::clone(&reads)))));
        let bins = "0123456789abcdef"
            .chars()
            .flat_map(|digit| (1..=8).map(move |length| digit.to_string().repeat(length)));
        let bins = bins.map(|digits| format!("{}{digits}", tufline_tuf::trie::BIN));
        let parties = (0..31).map(|number| format!("party-{number}"));
        let roles: Vec<String> =
            ["targets".to_owned()].into_iter().chain(bins).chain(parties).collect();
        let packs = Some(Arc::new(Packs::new(0)));
        let (store, blobs, chunks) = (memory.clone(), memory.clone(), memory.clone());
        let repository =
            ServedRepository { store, blobs, chunks, redirects: None, packs, pauses: vec![] };
        let world = Self { memory, repository, reads, roles };
        for version in [1, 2] {
            for role in &world.roles {
                let mut listed = String::new();
                for name in names().iter().filter(|name| *role == leaf(name)) {
                    let blob = format!("{name} {version}");
                    let sha256 = Sha256::of(blob.as_bytes());
                    world.blob(blob.as_bytes(), &sha256).await;
                    write!(
                        listed,
                        "\"{name}\":{{\"length\":{},\"hashes\":{{\"sha256\":\"{sha256}\"}}}}",
                        blob.len()
                    )
                    .unwrap();
                }
                let mut file = document("targets", version, &format!("\"targets\":{{{listed}}}"));
                if role.starts_with("party") {
                    // A dictionary has just enough room for all of these.
                    file += &" ".repeat(130_000);
                }
                world.put(&format!("metadata/{version}.{role}.json"), file.as_bytes());
            }
            let meta: Vec<_> = world
                .roles
                .iter()
                .map(|role| format!("\"{role}.json\":{{\"version\":{version}}}"))
                .collect();
            let file = document("snapshot", version, &format!("\"meta\":{{{}}}", meta.join(",")));
            world.put(&format!("metadata/{version}.snapshot.json"), file.as_bytes());
        }
        world.put(
            "metadata/timestamp.json",
            document("timestamp", 2, "\"meta\":{\"snapshot.json\":{\"version\":2}}").as_bytes(),
        );
        for version in 1..=100 {
            world.put(&format!("metadata/{version}.root.json"), b"{}");
        }
        world
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        self.memory.tamper(path, Some(Bytes::copy_from_slice(bytes)));
    }

    async fn blob(&self, bytes: &[u8], sha256: &Sha256) {
        let upload = Upload {
            name: "a".into(),
            version: Some(self.memory.put_upload("a", Bytes::copy_from_slice(bytes), None, true)),
            length: bytes.len() as u64,
            custom: None,
            sha256: Some(*sha256),
            uploaded: None,
            unusable: None,
        };
        assert_eq!(self.memory.keep(&upload, Source::Upload, sha256).await.unwrap(), Kept::Whole);
    }

    /// The status and body for a question, and how many reads it took.
    async fn ask(&self, query: &str) -> (StatusCode, Bytes, usize) {
        let before = self.reads.load(Ordering::SeqCst);
        let answer = self.repository.pack(&Method::GET, query).await;
        let Body::Whole(bytes) = answer.body else { panic!("a pack is whole") };
        (answer.status, bytes, self.reads.load(Ordering::SeqCst) - before)
    }

    /// The files of the first version of these roles, which anybody who reads the repository can
    /// know.
    async fn files(&self, roles: &[&str]) -> Vec<Bytes> {
        let mut files = Vec::new();
        for role in roles {
            let key = Key::Metadata { role: role.parse().unwrap(), version: 1 };
            files.push(self.repository.store.get(&key).await.unwrap().unwrap().bytes);
        }
        files
    }
}

/// Four target names that belong to four different bins.
fn names() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in (0..).map(|number| format!("target-{number}")) {
        let bin = leaf(&name);
        if *bin < *"bin-4" && bin.len() == 5 && names.iter().all(|other| leaf(other) != bin) {
            names.push(name);
        }
        if names.len() == 4 {
            break;
        }
    }
    names
}

fn leaf(name: &str) -> String {
    let digits = tufline_pack::role_prefix(name);
    let same = digits.chars().take_while(|digit| digits.starts_with(*digit)).count();
    format!("{}{}", tufline_tuf::trie::BIN, &digits[..same])
}

fn have(roles: &[&str]) -> String {
    roles.iter().map(|role| format!("1.{role}")).collect::<Vec<_>>().join(",")
}

fn prefixes() -> String {
    "0123456789abcdef"
        .chars()
        .map(|digit| digit.to_string().repeat(8))
        .collect::<Vec<_>>()
        .join(",")
}

fn dictionary_id(frame: &[u8]) -> u32 {
    zstd::zstd_safe::get_dict_id_from_frame(frame).map_or(0, std::num::NonZeroU32::get)
}

#[tokio::test]
async fn the_worst_question_is_bounded() {
    let world = World::new().await;
    let parties: Vec<&str> =
        world.roles.iter().filter(|role| role.starts_with("party")).map(String::as_str).collect();
    let roles = [&["root"][..], &parties].concat();
    assert_eq!(roles.len(), MOST_HAVE);
    let files = world.files(&roles).await;
    let query = format!(
        "have={}&dict={}&roles={}&files={}",
        have(&roles),
        digest(&files),
        prefixes(),
        names().join(",")
    );
    let (status, pack, reads) = world.ask(&query).await;
    println!("{reads} reads, {} bytes", pack.len());
    assert_eq!(
        (status, dictionary_id(&pack)),
        (StatusCode::OK, TABLES_ID),
        "the worst is a right one"
    );
    assert!((100..=MOST_READS).contains(&reads), "{reads}");
    let (_, again, reads) = world.ask(&query).await;
    println!("{reads} reads again");
    assert!(reads <= MOST_READS_AGAIN && again == pack, "{reads}");

    let unpacked = zstd::bulk::Decompressor::with_dictionary(&dictionary(&files))
        .unwrap()
        .decompress(&pack, MOST_BYTES)
        .unwrap();
    let entries = tufline_pack::read(&unpacked).unwrap();
    let count =
        |wanted: fn(&Entry<'_>) -> bool| entries.iter().filter(|entry| wanted(entry)).count();
    assert_eq!(count(|entry| matches!(entry, Entry::Target { .. })), 4);
    assert_eq!(
        count(
            |entry| matches!(entry, Entry::Metadata { path, .. } if path.ends_with(".root.json"))
        ),
        usize::try_from(MOST_ROOTS).unwrap()
    );
    assert_eq!(count(|entry| matches!(entry, Entry::Absent { .. })), 0, "there are more roots");
    assert_eq!(
        count(|entry| matches!(entry, Entry::Metadata { path, .. } if path.starts_with("2."))),
        MOST_DOCUMENTS + 1
    );
}

#[tokio::test]
async fn what_a_device_cannot_have_costs_nothing() {
    let world = World::new().await;
    let all: Vec<String> = (0..32).map(|number| format!("1.party-{number}")).collect();
    let dict = "&dict=0123456789abcdef";
    for (title, query, most) in [
        (
            "versions that are to come",
            format!("have={}{dict}", have(&["root", "targets"]).replace("1.targets", "3.targets")),
            25,
        ),
        (
            "roles that nobody has",
            format!(
                "have={}{dict}",
                (0..32).map(|n| format!("1.x{n}")).collect::<Vec<_>>().join(",")
            ),
            5,
        ),
        (
            "files that were collected",
            {
                world.memory.tamper("metadata/1.party-0.json", None);
                format!("have={}{dict}", all.join(","))
            },
            6,
        ),
        ("a wrong digest", format!("have={}{dict}", have(&["snapshot", "targets"])), 6),
        (
            "names that lead elsewhere",
            format!(
                "have=1..%2F..%2Froot,1.%00{dict}&roles=..%2Fx,%2F,root,timestamp&files=..%2Fx,%00,%2F"
            ),
            5,
        ),
        ("names as long as may be", format!("roles={0},{0}1&files={0}", "x".repeat(1020)), 5),
        ("a version beyond all", "have=18446744073709551615.root".to_owned(), 6),
    ] {
        let (status, pack, reads) = world.ask(&query).await;
        println!("{title}: {reads} reads");
        assert_eq!((status, dictionary_id(&pack)), (StatusCode::OK, 0), "{title}");
        assert!(reads <= most, "{title}: {reads} reads");
    }
    for (title, query) in [
        ("a role twice", format!("have=1.party-1,1.party-1{dict}")),
        ("two versions of a role", format!("have=1.party-1,2.party-1{dict}")),
        ("a field twice", "roles=a&roles=b".to_owned()),
        ("33 files", format!("have={},1.x{dict}", all.join(","))),
        ("no UTF-8", "roles=%ff".to_owned()),
        ("no number", format!("have=-1.root{dict}")),
        ("no digest", "dict=x".to_owned()),
    ] {
        let (status, told, reads) = world.ask(&query).await;
        assert_eq!((status, reads), (StatusCode::BAD_REQUEST, 0), "{title}");
        assert!(told.is_ascii() && told.len() < 200 && told.ends_with(b"\n"), "{title}");
    }
}
