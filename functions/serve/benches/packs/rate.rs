//! Measures packs and files per second of one processor. It uses the thread's own CPU clock, which
//! stands still while other threads have the processor.

use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tufline_serve::{Answer, Body, ServedRepository};
use tufline_store::memory::Calm;

use crate::devices::{Kind, kinds};
use crate::folder::{NEWEST, Repository};

/// How often the memory is measured.
const ROUNDS: usize = 5;

/// Asks for `count` packs and then `count` files, for all kinds of devices in turn, and prints the
/// cost of each kind.
pub async fn run(folder: &Path, count: usize) {
    let repository = Repository::read(folder);
    let kinds = kinds(&repository);
    let served = repository.served(NEWEST, Box::new(Calm));
    println!("{}", packs(&served, &kinds, count).await);
    println!("{}", files(&served, &kinds, count).await);
}

/// What the answers for one kind took.
struct Taken {
    microseconds: Vec<u32>,
    bytes: u64,
}

impl Taken {
    /// Makes it with room for all measurements, so that the process's memory shows only the
    /// server's growth.
    fn for_most(count: usize) -> Self {
        let mut microseconds = vec![1; count];
        microseconds.clear();
        Self { microseconds, bytes: 0 }
    }

    fn add(&mut self, time: Duration, answer: &Answer) {
        let Body::Whole(bytes) = &answer.body else { panic!("metadata are whole") };
        self.microseconds.push(u32::try_from(time.as_micros()).unwrap());
        self.bytes += bytes.len() as u64;
    }

    fn described(&mut self) -> Value {
        self.microseconds.sort_unstable();
        let count = self.microseconds.len();
        let percentile =
            |share: usize| f64::from(self.microseconds[(count - 1) * share / 100]) / 1000.0;
        let sum: u64 = self.microseconds.iter().map(|time| u64::from(*time)).sum();
        json!({
            "count": count, "bytes": self.bytes / count as u64, "per_second": 1_000_000 * count as u64 / sum.max(1),
            "p50_ms": percentile(50), "p99_ms": percentile(99)
        })
    }
}

async fn packs(served: &ServedRepository, kinds: &[Kind], count: usize) -> Value {
    let mut taken: Vec<Taken> =
        kinds.iter().map(|_| Taken::for_most(count.div_ceil(kinds.len()))).collect();
    let mut memory = vec![resident()];
    let began = cpu_time();
    for number in 0..count {
        let kind = number % kinds.len();
        let queries = &kinds[kind].queries;
        let asked = cpu_time();
        let answer =
            served.pack(&Method::GET, &queries[number / kinds.len() % queries.len()]).await;
        taken[kind].add(since(asked), &answer);
        let expected = if kind == 0 { StatusCode::NO_CONTENT } else { StatusCode::OK };
        assert_eq!(answer.status, expected, "{}", kinds[kind].name);
        look(&mut memory, number + 1, count);
    }
    described("packs", count, since(began), kinds, taken, &memory)
}

/// Measures the files that the same devices ask for by name. The requests accept gzip, so answers
/// are compressed.
async fn files(served: &ServedRepository, kinds: &[Kind], count: usize) -> Value {
    let fields =
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
    let mut taken: Vec<Taken> = kinds.iter().map(|_| Taken::for_most(count)).collect();
    let mut memory = vec![resident()];
    let (began, mut asked_for) = (cpu_time(), 0);
    for number in 0.. {
        let kind = number % kinds.len();
        let files = &kinds[kind].files;
        for file in &files[number / kinds.len() % files.len()] {
            if asked_for == count {
                return described("files", count, since(began), kinds, taken, &memory);
            }
            let path = format!("/metadata/{file}");
            let asked = cpu_time();
            let answer = served.answer(&Method::GET, &path, &fields).await;
            taken[kind].add(since(asked), &answer);
            let expected =
                if file == "2.root.json" { StatusCode::NOT_FOUND } else { StatusCode::OK };
            assert_eq!(answer.status, expected, "{file}");
            asked_for += 1;
            look(&mut memory, asked_for, count);
        }
    }
    unreachable!("it ends with the count")
}

fn look(memory: &mut Vec<u64>, done: usize, count: usize) {
    if done.is_multiple_of(count.div_ceil(ROUNDS)) {
        memory.push(resident());
    }
}

fn described(
    what: &str,
    count: usize,
    time: Duration,
    kinds: &[Kind],
    taken: Vec<Taken>,
    memory: &[u64],
) -> Value {
    let kinds = kinds.iter().zip(taken).filter(|(_, taken)| !taken.microseconds.is_empty());
    let kinds = kinds.map(|(kind, mut taken)| (kind.name.to_owned(), taken.described()));
    json!({
        "what": what, "count": count, "cpu_seconds": time.as_secs_f64(),
        "kinds": kinds.collect::<serde_json::Map<String, Value>>(), "resident_bytes": memory
    })
}

/// The CPU time of this thread.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// The CPU time since `then`.
pub fn since(then: Duration) -> Duration {
    cpu_time().saturating_sub(then)
}

/// The resident memory of this process now, in bytes.
pub fn resident() -> u64 {
    status("VmRSS:")
}

/// The largest resident memory that this process has had, in bytes.
pub fn most_resident() -> u64 {
    status("VmHWM:")
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
