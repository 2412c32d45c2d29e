//! Measures the CPU time of a request on our side: the SDK's client as the functions build it, over
//! plain HTTP, to a server that always gives the same answer.
//!
//! TLS adds little: a connection is kept for many requests, and encrypting a kilobyte takes
//! microseconds.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use futures::stream::{self, StreamExt};
use rustix::time::ClockId;
use tufline_aws::{Access, AccessKey, Clients};

use crate::measure::seconds_of;

/// How many requests are in flight at once, as in a stage.
const AT_ONCE: usize = 110;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"5\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
    x-amz-version-id: v\r\nx-amz-checksum-type: FULL_OBJECT\r\nx-amz-checksum-sha256: LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\r\n\r\n";

/// The CPU seconds of one HEAD request, measured over `count` of them.
pub async fn seconds_of_a_head(count: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || answer(&stream));
        }
    });
    let client = std::thread::spawn(move || {
        // As in the functions, one thread does everything. Its CPU time is measured.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let key = AccessKey { id: "id".into(), secret: "secret".into(), session_token: None };
            let (region, endpoint) = (Some("eu-central-1".into()), Some(endpoint));
            let clients =
                Clients::new(Access { region, endpoint, key: Some(key), ..Access::default() })
                    .await
                    .unwrap();
            let head = async |number: usize| {
                let key = format!("gateway/releases/2026-11/firmware-{number:08}.bin");
                clients.s3.head_object().bucket("uploads").key(key).send().await.unwrap();
            };
            let heads =
                |count: usize| stream::iter((0..count).map(head)).buffer_unordered(AT_ONCE).count();
            heads(AT_ONCE).await;
            let before = seconds_of(ClockId::ThreadCPUTime);
            heads(count).await;
            seconds_of(ClockId::ThreadCPUTime) - before
        })
    });
    let taken = tokio::task::spawn_blocking(|| client.join().unwrap()).await.unwrap();
    taken / f64::from(u32::try_from(count).unwrap())
}

/// Answers every request on a connection.
fn answer(stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() && { stream }.write_all(ANSWER).is_err() {
            return;
        }
    }
}
