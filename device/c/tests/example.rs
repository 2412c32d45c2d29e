//! The header matches the source, and the C example updates a target as its comment says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../client/tests/common/repository.rs"]
mod repository;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use repository::Repository;
use serde_json::json;
use sha2::{Digest, Sha256};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The system libraries that a program needs when it links the static library (`rustc --print
/// native-static-libs`).
const NATIVE: [&str; 6] = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

#[test]
fn the_header_is_made_of_the_source() {
    let path = Path::new(HERE).join("include/tufline_device.h");
    let config = cbindgen::Config::from_file(Path::new(HERE).join("cbindgen.toml")).unwrap();
    let source = Path::new(HERE).join("src/lib.rs");
    let mut made = Vec::new();
    cbindgen::Builder::new()
        .with_src(source)
        .with_config(config)
        .generate()
        .unwrap()
        .write(&mut made);
    #[expect(clippy::disallowed_methods, reason = "the person who runs the test asks it to write")]
    if std::env::var_os("UPDATE_HEADER").is_some() {
        fs::write(&path, &made).unwrap();
    }
    assert_eq!(
        fs::read_to_string(path).unwrap(),
        String::from_utf8(made).unwrap(),
        "regenerate it with UPDATE_HEADER=1"
    );
}

#[test]
fn the_example_updates() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path());
    let (data, url) = (b"new firmware".as_slice(), serve());
    let root = folder.path().join("root.json");
    fs::write(&root, &published(data).files["1.root.json"]).unwrap();
    let settings = folder.path().join("device.toml");
    let lines = [
        format!("metadata-dir = '{}'", folder.path().join("metadata").display()),
        format!("metadata-url = '{url}/metadata'"),
        format!("root = '{}'", root.display()),
        "tries = 2\nbelieve-clock = true".to_owned(),
    ];
    fs::write(&settings, lines.join("\n")).unwrap();
    let to = folder.path().join("firmware.bin");

    let done = update(&program, &settings, "firmware", &to);
    let told = format!(
        "{} bytes, {}, {{\"board\":\"a\"}}\n",
        data.len(),
        hex::encode(Sha256::digest(data))
    );
    assert_eq!(
        (text(&done.stdout), text(&done.stderr), done.status.code()),
        (told, String::new(), Some(0))
    );
    assert_eq!(fs::read(&to).unwrap(), data);

    let failed = update(&program, &settings, "other", &to);
    assert!(
        text(&failed.stderr).starts_with("update: other is not a target of this repository")
            && text(&failed.stderr).ends_with("(no-such-target)\n")
    );
    assert_eq!(failed.status.code(), Some(1));
    let failed = update(&program, Path::new("nothing.toml"), "firmware", &to);
    assert!(text(&failed.stderr).ends_with("(file)\n"), "{failed:?}");
}

/// Builds the example with the static library beside this test: the newest one, since older builds
/// leave theirs.
fn build(folder: &Path) -> PathBuf {
    let program = folder.join("update");
    let beside = fs::read_dir(std::env::current_exe().unwrap().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("libtufline_device_c-")
            && path.extension().is_some_and(|extension| extension == "a")
    };
    let built = beside
        .filter(is_ours)
        .max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap())
        .unwrap();
    let mut compiler = Command::new("cc");
    compiler
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(Path::new(HERE).join("include"));
    compiler
        .arg(Path::new(HERE).join("../../examples/devices/c/update.c"))
        .arg(built)
        .args(NATIVE)
        .arg("-o")
        .arg(&program);
    let done = compiler.output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    program
}

fn update(program: &Path, settings: &Path, name: &str, to: &Path) -> Output {
    Command::new(program).arg(settings).arg(name).arg(to).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn published(data: &[u8]) -> Repository {
    let mut repository = Repository::new();
    let listed = json!({"length": data.len(), "hashes": {"sha256": hex::encode(Sha256::digest(data))}, "custom": {"board": "a"}});
    let signed = repository.document("targets", 1, &json!({"targets": {"firmware": listed}}));
    repository.files.insert(
        "1.targets.json".to_owned(),
        repository::file(&signed, &repository.keys["targets"]),
    );
    repository
}

/// Serves the repository, and returns its URL.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let data = b"new firmware".as_slice();
    let files = published(data).files;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines: Vec<String> = BufReader::new(&stream)
                .lines()
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .collect();
            let path = lines[0].split(' ').nth(1).unwrap();
            let file = if path.starts_with("/targets/") {
                Some(data)
            } else {
                files.get(&path["/metadata/".len()..]).map(Vec::as_slice)
            };
            let status = if file.is_some() { "200 OK" } else { "404 Not Found" };
            let body = file.unwrap_or_default();
            let head = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            _ = stream.write_all(&[head.as_bytes(), body].concat());
        }
    });
    url
}
