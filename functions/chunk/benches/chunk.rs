//! What it takes to cut a file: `cargo bench -p tufline-chunk -- FILE [FILE …]`. A line of JSON for each file and level: the processor's
//! seconds, how many bytes that is a second, the packed bytes, and the peak of memory in KiB so far. With two files also what a device that has
//! the first fetches of the second.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::collections::BTreeSet;
use std::fs::File;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tufline_chunk::bench::{Cut, count, pack};
use tufline_chunks::{Entry, List};

/// As the function tries them, and some beside.
const LEVELS: [i32; 6] = [1, 3, 6, 12, 16, 19];

/// In seconds.
fn processor() -> f64 {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap().as_secs_f64()
}

/// `VmHWM` of `/proc/self/status`, in KiB (<https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn packed(entries: impl Iterator<Item = Entry>) -> u64 {
    entries.map(|entry| u64::from(entry.packed)).sum()
}

/// Cuts a file as the function does, but for the requests.
fn cut(path: &str, average: u32, level: i32) -> List {
    let length = std::fs::metadata(path).unwrap().len();
    let begin = processor();
    let count = count(File::open(path).unwrap(), average).unwrap().unwrap();
    let counted = processor() - begin;
    let cut = Cut { sha256: [0; 32], length, average, count };
    let list = pack(File::open(path).unwrap(), &cut, |_| level, &mut tempfile::tempfile().unwrap())
        .unwrap();
    let seconds = processor() - begin;
    println!(
        r#"{{"file":{path:?},"average":{average},"level":{level},"bytes":{length},"chunks":{count},"packed":{},"count_s":{:.2},"cpu_s":{seconds:.2},"mb_s":{:.2},"peak_kib":{}}}"#,
        packed(list.entries()),
        counted,
        length as f64 / seconds / 1e6,
        peak(),
    );
    list
}

fn main() {
    let files: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    for average in [8 << 10, 16 << 10] {
        for level in LEVELS {
            let lists: Vec<List> = files.iter().map(|file| cut(file, average, level)).collect();
            if let [old, new] = &lists[..] {
                let known: BTreeSet<[u8; 16]> = old.entries().map(|entry| entry.digest).collect();
                let missing: Vec<Entry> =
                    new.entries().filter(|entry| !known.contains(&entry.digest)).collect();
                let plain: u64 = missing.iter().map(|entry| u64::from(entry.length)).sum();
                let (count, packed, list) =
                    (missing.len(), packed(missing.into_iter()), new.bytes().len());
                println!(
                    r#"{{"average":{average},"level":{level},"missing":{count},"missing_bytes":{plain},"missing_packed":{packed},"list":{list}}}"#
                );
            }
        }
    }
}
