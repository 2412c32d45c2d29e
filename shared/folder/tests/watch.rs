//! The watcher on a real folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout};
use tufline_folder::{DataFolder, FolderUploads, FoundFolder, Watcher};
use tufline_store::{Hint, SystemClock};

struct Watched {
    folder: TempDir,
    uploads: FolderUploads,
    _watcher: Watcher,
    hints: Receiver<Vec<Hint>>,
}

impl Watched {
    /// A watched folder in which the files `before` were already.
    async fn start(before: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::lock(folder.path().join("data")).unwrap();
        let uploads =
            FolderUploads::open(&data, folder.path().join("uploads"), Arc::new(SystemClock))
                .unwrap();
        for name in before {
            std::fs::write(uploads.path().join(name), "before").unwrap();
        }
        let (watcher, hints) = Watcher::start(&uploads);
        let mut started = Self { folder, uploads, _watcher: watcher, hints };
        if !before.is_empty() {
            assert_eq!(
                started.collect(before.len()).await,
                before.iter().map(|name| (*name).to_owned()).collect()
            );
        }
        // The watch begins with the first look.
        tokio::time::sleep(Duration::from_millis(100)).await;
        started
    }

    fn path(&self) -> &Path {
        self.uploads.path()
    }

    async fn next(&mut self) -> Vec<Hint> {
        timeout(Duration::from_secs(20), self.hints.recv()).await.expect("a hint comes").unwrap()
    }

    /// The names of the next `count` hints; removed names get a leading `-`.
    async fn collect(&mut self, count: usize) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        while names.len() < count {
            for hint in self.next().await {
                assert_eq!(hint.version, None);
                names.insert(if hint.removed { format!("-{}", hint.name) } else { hint.name });
            }
        }
        names
    }

    /// Fails if anything is reported within `wait`.
    async fn nothing(&mut self, wait: Duration) {
        if let Ok(hints) = timeout(wait, self.hints.recv()).await {
            panic!("told {hints:?}");
        }
    }
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_counts_at_once() {
    let mut watched = Watched::start(&["old"]).await;
    std::fs::write(watched.folder.path().join("aside"), "x").unwrap();
    let begin = Instant::now();
    std::fs::rename(watched.folder.path().join("aside"), watched.path().join("new")).unwrap();
    assert_eq!(watched.collect(1).await, set(["new"]));
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(150), "it took {took:?}");

    std::fs::write(watched.path().join("x.part"), "x").unwrap();
    let begin = Instant::now();
    std::fs::rename(watched.path().join("x.part"), watched.path().join("old")).unwrap();
    assert_eq!(
        watched.collect(1).await,
        set(["old"]),
        "over another, from a name that isn't looked at"
    );
    assert!(begin.elapsed() < Duration::from_millis(150));
    watched.nothing(Duration::from_secs(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_in_place_counts_when_it_is_closed() {
    use std::io::Write;
    let mut watched = Watched::start(&[]).await;
    for pauses in [[100; 10].as_slice(), &[1500]] {
        let mut file = std::fs::File::create(watched.path().join("slow")).unwrap();
        for pause in pauses {
            file.write_all(b"piece").unwrap();
            watched.nothing(Duration::from_millis(*pause)).await;
        }
        drop(file);
        assert_eq!(watched.collect(1).await, set(["slow"]), "each change is told");
    }
    watched.nothing(Duration::from_millis(500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_from_before_the_start_is_reported_when_it_goes() {
    for pause in [0, 20, 200] {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::lock(folder.path().join("data")).unwrap();
        let uploads =
            FolderUploads::open(&data, folder.path().join("uploads"), Arc::new(SystemClock))
                .unwrap();
        std::fs::create_dir(uploads.path().join("d")).unwrap();
        for name in ["stays", "goes", "d/goes"] {
            std::fs::write(uploads.path().join(name), "before").unwrap();
        }
        let (watcher, hints) = Watcher::start(&uploads);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        std::fs::remove_file(uploads.path().join("goes")).unwrap();
        std::fs::remove_dir_all(uploads.path().join("d")).unwrap();
        let mut lying = Watched { folder, uploads, _watcher: watcher, hints };
        // Files that it saw before they went are first reported as there.
        let mut removed = BTreeMap::new();
        while removed
            != BTreeMap::from(
                [("stays", false), ("goes", true), ("d/goes", true)]
                    .map(|(name, gone)| (name.to_owned(), gone)),
            )
        {
            removed.extend(lying.next().await.into_iter().map(|hint| (hint.name, hint.removed)));
        }
        lying.nothing(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_is_reported_once_and_only_for_a_known_file() {
    let mut watched = Watched::start(&["a", "b"]).await;
    std::fs::write(watched.path().join("short"), "x").unwrap();
    std::fs::remove_file(watched.path().join("short")).unwrap();
    std::fs::remove_file(watched.path().join("a")).unwrap();
    std::fs::rename(watched.path().join("b"), watched.path().join("c")).unwrap();
    assert_eq!(watched.collect(3).await, set(["-a", "-b", "c"]));
    watched.nothing(Duration::from_secs(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removals_at_one_time_are_reported_together() {
    let names: Vec<String> = (0..500).map(|number| format!("{number}.bin")).collect();
    let mut watched = Watched::start(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for name in &names {
        std::fs::remove_file(watched.path().join(name)).unwrap();
    }
    assert_eq!(watched.next().await.iter().filter(|hint| hint.removed).count(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_goes_and_comes_back_is_not_reported_as_removed() {
    let mut watched = Watched::start(&["replaced", "moved"]).await;
    let aside = watched.folder.path().join("aside");
    std::fs::write(&aside, "x").unwrap();
    std::fs::remove_file(watched.path().join("replaced")).unwrap();
    std::fs::rename(&aside, watched.path().join("replaced")).unwrap();
    std::fs::rename(watched.path().join("moved"), &aside).unwrap();
    std::fs::rename(&aside, watched.path().join("moved")).unwrap();
    assert_eq!(watched.collect(2).await, set(["replaced", "moved"]));
    watched.nothing(Duration::from_secs(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_new_folders_is_reported_whole() {
    let mut watched = Watched::start(&[]).await;
    let mut expected = BTreeSet::new();
    for number in 0..1200 {
        let name = format!("{}/{}/{}/file{number}", number % 7, number % 5, number % 3);
        let path = watched.path().join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
        expected.insert(name);
    }
    assert_eq!(watched.collect(expected.len()).await, expected);

    // A whole folder is moved away, and back under another name.
    let below: Vec<String> =
        expected.iter().filter(|name| name.starts_with("3/")).cloned().collect();
    std::fs::rename(watched.path().join("3"), watched.folder.path().join("aside")).unwrap();
    assert_eq!(
        watched.collect(below.len()).await,
        below.iter().map(|name| format!("-{name}")).collect()
    );
    let begin = Instant::now();
    std::fs::rename(watched.folder.path().join("aside"), watched.path().join("moved")).unwrap();
    let moved = below.iter().map(|name| name.replacen('3', "moved", 1)).collect();
    assert_eq!(watched.collect(below.len()).await, moved);
    assert!(
        begin.elapsed() < Duration::from_millis(200),
        "a renamed folder is complete: {:?}",
        begin.elapsed()
    );
    watched.nothing(Duration::from_secs(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_file_is_reported_as_its_target() {
    let mut watched = Watched::start(&["a"]).await;
    std::fs::write(watched.path().join("a.tuf.json"), "{}").unwrap();
    assert_eq!(watched.collect(1).await, set(["a"]));
    std::fs::write(watched.path().join("a.tuf.json"), "[]").unwrap();
    assert_eq!(watched.collect(1).await, set(["a"]));
    std::fs::remove_file(watched.path().join("a.tuf.json")).unwrap();
    assert_eq!(watched.collect(1).await, set(["a"]));

    // The side file comes first, as it should: it isn't reported under its own name.
    std::fs::write(watched.path().join("b.tuf.json"), "{}").unwrap();
    watched.nothing(Duration::from_secs(1)).await;
    std::fs::write(watched.path().join("b"), "x").unwrap();
    assert_eq!(watched.collect(1).await, set(["b"]));
    watched.nothing(Duration::from_secs(4)).await;

    // Its target never comes: it is reported, to be refused.
    std::fs::write(watched.path().join("lonely.tuf.json"), "{}").unwrap();
    assert_eq!(watched.collect(1).await, set(["lonely.tuf.json"]));
    std::fs::write(watched.path().join("lonely"), "{}").unwrap();
    assert_eq!(watched.collect(1).await, set(["lonely"]));
    watched.nothing(Duration::from_secs(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmounted_folder_removes_nothing() {
    let mut watched = Watched::start(&["a", "b"]).await;
    let aside = watched.folder.path().join("aside");
    std::fs::rename(watched.path(), &aside).unwrap();
    watched.nothing(Duration::from_secs(5)).await;
    std::fs::create_dir(watched.path()).unwrap();
    std::fs::write(watched.path().join("in the mount point"), "x").unwrap();
    assert!(matches!(watched.uploads.standing().unwrap(), FoundFolder::Other(_)));
    watched.nothing(Duration::from_secs(5)).await;
    std::fs::remove_dir_all(watched.path()).unwrap();
    std::fs::write(aside.join("meanwhile"), "x").unwrap();
    std::fs::remove_file(aside.join("b")).unwrap();
    std::fs::rename(&aside, watched.path()).unwrap();
    assert_eq!(watched.collect(2).await, set(["-b", "meanwhile"]));
    // The watch is on the folder again.
    std::fs::write(watched.folder.path().join("aside"), "x").unwrap();
    let begin = Instant::now();
    std::fs::rename(watched.folder.path().join("aside"), watched.path().join("again")).unwrap();
    assert_eq!(watched.collect(1).await, set(["again"]));
    assert!(begin.elapsed() < Duration::from_millis(200), "it took {:?}", begin.elapsed());
}
