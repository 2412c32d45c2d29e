//! Servers that answer as a test says.
#![allow(dead_code, reason = "each test uses a part of it")]

#[path = "../../../client/tests/common/repository.rs"]
pub mod repository;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use repository::Repository;
use tufline_device::Settings;

/// What a server does with a request: its path, and its header fields in lower case.
pub type Answers = dyn Fn(&str, &BTreeMap<String, String>) -> Vec<u8> + Send + Sync;

/// Requests: their paths and header fields.
pub type Requests = Vec<(String, BTreeMap<String, String>)>;

/// A server at a port of its own, and the requests that it got.
pub struct Server {
    pub url: String,
    asked: Arc<Mutex<Requests>>,
}

impl Server {
    pub fn start(answers: Box<Answers>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (path, fields) = request(&stream);
                let answer = answers(&path, &fields);
                noted.lock().unwrap().push((path, fields));
                _ = stream.write_all(&answer);
            }
        });
        Self { url, asked }
    }

    pub fn asked(&self) -> Requests {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn request(stream: &TcpStream) -> (String, BTreeMap<String, String>) {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    let fields = lines.take_while(|line| !line.is_empty()).map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    });
    (path, fields.collect())
}

pub fn answer(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    [
        format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\n{fields}content-length: {}\r\n\r\n",
            body.len()
        )
        .as_bytes(),
        body,
    ]
    .concat()
}

/// A device that asks this server.
pub fn device(folder: &Path, repository: &Repository, url: &str) -> Settings {
    let root = folder.join("trusted.json");
    fs::write(&root, &repository.files["1.root.json"]).unwrap();
    let mut settings = Settings::new(folder.join("metadata"));
    settings.metadata_url = format!("{url}/metadata");
    settings.root = Some(root);
    settings.tries = 3;
    // The repository of these tests is of 2029.
    settings.believe_clock = true;
    settings
}

/// Answers documents; and all else by `target`.
pub fn answers(
    repository: &Repository,
    target: impl Fn(&str, &BTreeMap<String, String>) -> Vec<u8> + Send + Sync + 'static,
) -> Box<Answers> {
    let files = repository.files.clone();
    Box::new(move |path, fields| match path.strip_prefix("/metadata/") {
        Some(name) => files
            .get(name)
            .map_or_else(|| answer("404 Not Found", "", b""), |file| answer("200 OK", "", file)),
        None => target(path, fields),
    })
}
