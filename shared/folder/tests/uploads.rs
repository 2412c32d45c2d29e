//! The behaviour of uploads in a folder beyond the port's contract.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;
use tufline_folder::{DataFolder, FolderBlobs, FolderUploads, FoundFolder};
use tufline_store::{Blobs, Head, Kept, Source, SystemClock, Upload, Uploads};
use tufline_tuf::{Sha256, TargetName, custom};

fn folder() -> (TempDir, DataFolder, FolderUploads) {
    let folder = tempfile::tempdir().unwrap();
    let data = DataFolder::lock(folder.path().join("data")).unwrap();
    let uploads =
        FolderUploads::open(&data, folder.path().join("uploads"), Arc::new(SystemClock)).unwrap();
    (folder, data, uploads)
}

fn write(uploads: &FolderUploads, name: impl AsRef<Path>, text: &str) {
    let path = uploads.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

async fn found(uploads: &FolderUploads, name: &str) -> Option<Upload> {
    match uploads.head(name).await.unwrap() {
        Head::Object(upload) => upload.unusable.is_none().then_some(upload),
        Head::Gone { marker } => {
            assert_eq!(marker, None);
            None
        }
    }
}

#[tokio::test]
async fn nothing_is_gone_while_the_folder_is_not_mounted() {
    let (folder, data, uploads) = folder();
    write(&uploads, "a", "x");
    let upload = found(&uploads, "a").await.unwrap();
    let aside = folder.path().join("aside");
    for mounted_instead in [false, true] {
        std::fs::rename(uploads.path(), &aside).unwrap();
        if mounted_instead {
            std::fs::create_dir(uploads.path()).unwrap();
        }
        let blobs = FolderBlobs::new(&data, &uploads);
        for error in [
            uploads.head("a").await.unwrap_err(),
            uploads.head_version("a", upload.version.as_ref().unwrap()).await.unwrap_err(),
            uploads.versions("a").await.unwrap_err(),
            uploads.list(None).await.unwrap_err(),
            uploads.read(&upload, 0, 1).await.unwrap_err(),
            blobs.copy_in(&upload).await.unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains("is not mounted") && !error.contains('\n'), "{error}");
        }
        let again = FolderUploads::open(&data, uploads.path(), Arc::new(SystemClock)).unwrap();
        for uploads in [&uploads, &again] {
            assert_eq!(
                matches!(uploads.standing().unwrap(), FoundFolder::Other(_)),
                mounted_instead
            );
            assert_eq!(uploads.standing().unwrap() == FoundFolder::Missing, !mounted_instead);
        }
        if mounted_instead {
            std::fs::remove_dir(uploads.path()).unwrap();
        }
        std::fs::rename(&aside, uploads.path()).unwrap();
        assert_eq!(found(&uploads, "a").await.as_ref(), Some(&upload));
    }
    // One other folder is accepted, and no third one.
    std::fs::rename(uploads.path(), &aside).unwrap();
    std::fs::create_dir(uploads.path()).unwrap();
    let FoundFolder::Other(identity) = uploads.standing().unwrap() else { panic!("it is another") };
    assert!(uploads.names_in("1 2 3").await.is_err());
    assert!(uploads.names_in(&identity).await.unwrap().is_empty());
    uploads.take(&identity).unwrap();
    assert_eq!(found(&uploads, "a").await, None);
    let again = FolderUploads::open(&data, uploads.path(), Arc::new(SystemClock)).unwrap();
    assert_eq!(again.standing().unwrap(), FoundFolder::Known);
    std::fs::remove_dir(uploads.path()).unwrap();
    std::fs::create_dir(uploads.path()).unwrap();
    assert_ne!(
        again.standing().unwrap(),
        FoundFolder::Known,
        "it may have the same number on the disk"
    );
}

#[tokio::test]
async fn a_folder_that_was_there_before_is_used_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "x").unwrap();
    let data = DataFolder::lock(folder.path().join(".data")).unwrap();
    let uploads = FolderUploads::open(&data, folder.path(), Arc::new(SystemClock)).unwrap();
    assert_eq!(uploads.list(None).await.unwrap(), ["a"]);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        2,
        "nothing of ours is put there"
    );
}

#[tokio::test]
async fn files_that_are_no_uploads_are_not_seen() {
    let (folder, _data, uploads) = folder();
    write(&uploads, "seen/a", "x");
    for name in [
        ".hidden",
        ".folder/a",
        "a/.hidden",
        "x.part",
        "a/x.tmp",
        "a/.part",
        "x~",
        "x.0a1b2c3d.partial",
    ] {
        write(&uploads, name, "x");
        assert_eq!(found(&uploads, name).await, None, "{name}");
    }
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    symlink("seen/a", uploads.path().join("link")).unwrap();
    symlink("..", uploads.path().join("above")).unwrap();
    symlink(folder.path(), uploads.path().join("root")).unwrap();
    for name in [
        "",
        "/",
        "..",
        ".",
        "../secret",
        "seen/../../secret",
        "seen/../seen/a",
        "./seen/a",
        "seen//a",
        "/seen/a",
        "seen/a/",
        "seen",
        "seen/a/b",
        "link",
        "above/secret",
        "root/secret",
        "root/uploads/seen/a",
        "seen/a\0",
        "\0",
        "\u{FFFD}",
    ] {
        assert_eq!(found(&uploads, name).await, None, "{name:?}");
    }
    let absolute = folder.path().join("secret").display().to_string();
    for name in [absolute, "a".repeat(256), "a/".repeat(5000) + "b"] {
        assert_eq!(found(&uploads, &name).await, None, "{name:.80}");
    }
    let status =
        std::process::Command::new("mkfifo").arg(uploads.path().join("pipe")).status().unwrap();
    assert!(status.success());
    assert_eq!(found(&uploads, "pipe").await, None, "and does not block");
    assert_eq!(
        uploads.list(None).await.unwrap(),
        ["above", "link", "pipe", "root", "seen/a"],
        "to be told of"
    );
    // Something that isn't a regular file still removes nothing.
    for (name, why) in [
        ("link", "symbolic link"),
        ("above/secret", "symbolic link"),
        ("root/uploads/seen/a", "symbolic link"),
        ("pipe", "named pipe"),
        ("x.part", "incomplete"),
    ] {
        let Head::Object(upload) = uploads.head(name).await.unwrap() else {
            panic!("{name} is something")
        };
        let said = upload.unusable.clone().unwrap();
        assert!(said.contains(why) && said.contains(name), "{said}");
        assert!(uploads.read(&upload, 0, 1).await.is_err(), "it is never read");
    }
}

#[tokio::test]
async fn side_files_belong_to_their_targets() {
    let (_folder, _data, uploads) = folder();
    // Alone it counts as a name, which is then refused.
    write(&uploads, "a.tuf.json", r#"{"n":1}"#);
    assert!(found(&uploads, "a.tuf.json").await.is_some());
    assert_eq!(uploads.list(None).await.unwrap(), ["a.tuf.json"]);
    write(&uploads, "a", "x");
    assert_eq!(found(&uploads, "a.tuf.json").await, None);
    assert_eq!(uploads.list(None).await.unwrap(), ["a"]);
    let first = found(&uploads, "a").await.unwrap();
    assert_eq!(first.custom.as_deref(), Some(r#"{"n":1}"#));

    // The same length, and as quick as possible: a clock would not distinguish the two.
    write(&uploads, "a.tuf.json", r#"{"n":2}"#);
    let second = found(&uploads, "a").await.unwrap();
    assert_eq!(second.custom.as_deref(), Some(r#"{"n":2}"#));
    assert_ne!(second.version, first.version);

    for refused in ["x".repeat(100_000).as_bytes(), b"{\"a\":\"\xFF\"}", b"\xFF", b""] {
        std::fs::write(uploads.path().join("a.tuf.json"), refused).unwrap();
        let text = found(&uploads, "a").await.unwrap().custom.unwrap();
        assert!(text.len() < 20_000);
        custom::parse(&text).unwrap_err();
    }
    // A side file is a regular file like any other.
    std::fs::remove_file(uploads.path().join("a.tuf.json")).unwrap();
    std::fs::create_dir(uploads.path().join("a.tuf.json")).unwrap();
    assert_eq!(found(&uploads, "a").await.unwrap().custom, None);
}

#[tokio::test]
async fn names_that_are_not_utf8_are_seen_and_refused() {
    let (_folder, _data, uploads) = folder();
    let raw = OsStr::from_bytes(b"b\xFFd/na\xFEme");
    std::fs::create_dir(uploads.path().join(OsStr::from_bytes(b"b\xFFd"))).unwrap();
    std::fs::write(uploads.path().join(raw), "12345").unwrap();
    let names = uploads.list(None).await.unwrap();
    assert_eq!(names, ["b\u{FFFD}d/na\u{FFFD}me"]);
    names[0].parse::<TargetName>().unwrap_err();
    assert_eq!(found(&uploads, &names[0]).await.unwrap().length, 5, "so it can be answered for");
}

#[tokio::test]
async fn a_folder_that_may_not_be_read_hides_nothing_for_good() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, _data, uploads) = folder();
    write(&uploads, "a", "x");
    write(&uploads, "closed/b", "x");
    let closed = uploads.path().join("closed");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    let may_read_all = std::fs::read_dir(&closed).is_ok();
    let listed = uploads.list(None).await;
    let head = uploads.head("closed/b").await;
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o755)).unwrap();
    if may_read_all {
        return; // run by root: nothing is closed
    }
    assert_eq!(listed.unwrap(), ["a"]);
    assert!(head.is_err(), "it is not gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_being_written_never_becomes_a_blob_in_the_middle() {
    let (_folder, data, uploads) = folder();
    let blobs = FolderBlobs::new(&data, &uploads);
    let path = uploads.path().join("busy");
    // All of the same length, written in place as fast as possible.
    let content = |number: u32| format!("{number:08}").repeat(20_000);
    std::fs::write(&path, content(0)).unwrap();
    let mut allowed: HashSet<Sha256> =
        (0..60).map(|number| Sha256::of(content(number).as_bytes())).collect();
    // Writing in place empties the file first: it stays empty until its writer gets time.
    allowed.insert(Sha256::of(b""));
    let writer = std::thread::spawn(move || {
        for number in 1..60 {
            std::fs::write(&path, content(number)).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(u64::from(number % 4) * 10));
        }
    });
    let (mut copied, mut refused) = (0, 0);
    while !writer.is_finished() {
        let upload = found(&uploads, "busy").await.unwrap();
        match blobs.copy_in(&upload).await {
            Ok(sha256) => {
                let sha256 = sha256.unwrap();
                assert!(
                    allowed.contains(&sha256),
                    "a mixture of {} bytes was copied",
                    upload.length
                );
                assert_eq!(
                    blobs.keep(&upload, Source::Incoming, &sha256).await.unwrap(),
                    Kept::Whole
                );
                copied += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains("it changed"), "{error}");
                refused += 1;
            }
        }
    }
    writer.join().unwrap();
    assert!(copied > 0 && refused > 0, "{copied} copied, {refused} refused: the test sees both");
    let upload = found(&uploads, "busy").await.unwrap();
    assert_eq!(
        blobs.copy_in(&upload).await.unwrap(),
        Some(Sha256::of(content(59).as_bytes())),
        "the last bytes win"
    );
}

#[tokio::test]
async fn a_blob_has_the_digest_it_is_named_by() {
    let (_folder, data, uploads) = folder();
    let blobs = FolderBlobs::new(&data, &uploads);
    write(&uploads, "a", "right");
    let upload = found(&uploads, "a").await.unwrap();
    let wrong = Sha256::of(b"wrong");
    assert!(blobs.keep(&upload, Source::Upload, &wrong).await.is_err());
    blobs.copy_in(&upload).await.unwrap();
    assert!(blobs.keep(&upload, Source::Incoming, &wrong).await.is_err());
    assert_eq!(blobs.head(&wrong).await.unwrap(), None);
    let right = Sha256::of(b"right");
    assert_eq!(blobs.keep(&upload, Source::Incoming, &right).await.unwrap(), Kept::Whole);
    // The disk lost its end: it must not be taken for the target.
    std::fs::write(data.path().join(format!("repository/blobs/{right}")), "ri").unwrap();
    blobs.copy_in(&upload).await.unwrap();
    let error = blobs.keep(&upload, Source::Incoming, &right).await.unwrap_err().to_string();
    assert!(error.contains("it has 2 bytes instead of 5"), "{error}");
}

/// Whatever the name, nothing outside the folder is found, and nothing panics.
#[test]
fn no_name_leads_out_of_the_folder() {
    let (folder, _data, uploads) = folder();
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let names = "(/|\\.|\\.\\.|\\PC|secret|uploads|data|format|\u{0}|\u{FFFD}){0,8}";
    proptest!(|(name in names)| {
        prop_assert_eq!(runtime.block_on(found(&uploads, &name)), None);
    });
}
