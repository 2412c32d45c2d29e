//! The HTTP server around [`ServedRepository::answer`].
//!
//! *Invariants*: whatever devices do, it leaves the stages the file descriptors that they need
//! ([`places`]). A device holds a place only while it sends a request and reads the answer.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::TryStreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tufline_serve::{Answer, Body, MOST_PACK_AGE, PACK_PATH, Packs, ServedRepository};
use tufline_store::{Blobs, Chunks, Store, StoreError};

use super::connections::{Answering, Connection, Connections};
use super::paced::Paced;
use crate::process;

/// The pauses before the second and the third attempt of a failed read. They are short, since a
/// device is waiting.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];

/// How long downloads may continue once the server is told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// The pause after the system failed to accept a connection: what it lacks is back soon, or is
/// missing for longer.
const AFTER_TROUBLE: Duration = Duration::from_millis(200);

/// The most connections. A small fleet needs no more, and each may hold a mebibyte in memory.
const MOST_CONNECTIONS: u64 = 512;

/// The fewest connections, however few files the process may open.
const LEAST_CONNECTIONS: u64 = 16;

/// The file descriptors reserved for the stages: some 60 threads with a few files each, the
/// watcher, and the log.
const RESERVED: u64 = 384;

/// A server that has its port but doesn't answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds the port.
    ///
    /// # Errors
    /// If the port is taken, or the address isn't this machine's.
    pub async fn bind(listen: SocketAddr) -> anyhow::Result<Self> {
        let listener = match TcpListener::bind(listen).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                bail!(
                    "{listen} is taken by another program: stop it, or choose another address with \
                     --listen"
                )
            }
            result => result.with_context(|| format!("cannot listen on {listen}"))?,
        };
        let address = listener.local_addr().context("cannot listen")?;
        Ok(Self { listener, address })
    }

    /// Its address. If port 0 was requested, this has the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves devices from `store`, `blobs` and `chunks` until `stop` is ready. Downloads in
    /// progress then get a short grace period.
    pub async fn run(
        self,
        store: Arc<dyn Store>,
        blobs: Arc<dyn Blobs>,
        chunks: Arc<dyn Chunks>,
        stop: impl Future<Output = ()> + Send,
    ) {
        let packs = Some(Arc::new(Packs::new(MOST_PACK_AGE)));
        let repository = ServedRepository {
            store,
            blobs,
            chunks,
            redirects: None,
            packs,
            pauses: PAUSES.to_vec(),
        };
        let connections = Connections::new(places(process::most_open_files()));
        let graceful = GracefulShutdown::new();
        tokio::select! {
            () = self.accept(&repository, &connections, &graceful) => {}
            () = connections.keep_short() => {}
            () = stop => {}
        }
        let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    }

    async fn accept(
        &self,
        repository: &ServedRepository,
        connections: &Arc<Connections>,
        graceful: &GracefulShutdown,
    ) {
        let mut trouble = None;
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    trouble = None;
                    let connection = Arc::new(connections.enter().await);
                    let serving = serve_device(
                        repository.clone(),
                        stream,
                        Arc::clone(&connection),
                        graceful.watcher(),
                    );
                    connection.ends_by(tokio::spawn(serving).abort_handle());
                }
                Err(error) => {
                    let error = error.to_string();
                    if trouble.as_ref() != Some(&error) {
                        tracing::error!("devices can't connect for now: {error}");
                    }
                    trouble = Some(error);
                    tokio::time::sleep(AFTER_TROUBLE).await;
                }
            }
        }
    }
}

/// How many connections there may be if the process may open `most_open_files` files.
fn places(most_open_files: u64) -> usize {
    let most = most_open_files.saturating_sub(RESERVED).clamp(LEAST_CONNECTIONS, MOST_CONNECTIONS);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Answers the requests on one device's connection.
async fn serve_device(
    repository: ServedRepository,
    stream: TcpStream,
    connection: Arc<Connection>,
    watcher: Watcher,
) {
    // Most answers are small, and a device waits for each before it sends the next request.
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(Paced::new(stream, Arc::clone(&connection)));
    let service = service_fn(move |request: Request<Incoming>| {
        let (repository, answering) = (repository.clone(), connection.answering());
        async move { Ok::<_, Infallible>(answer(&repository, &request, answering).await) }
    });
    // An error here is the device's: it closed the connection, or sent garbage.
    let _ = watcher.watch(http1::Builder::new().serve_connection(stream, service)).await;
}

async fn answer(
    repository: &ServedRepository,
    request: &Request<Incoming>,
    answering: Answering,
) -> Response<Sent> {
    let uri = request.uri();
    let Answer { status, headers, body } = match tufline_serve::decode(uri.path()) {
        Some(path) if path == PACK_PATH => {
            repository.pack(request.method(), uri.query().unwrap_or_default()).await
        }
        Some(path) => repository.answer(request.method(), &path, request.headers()).await,
        None => tufline_serve::bad_path(),
    };
    let body = match body {
        Body::Whole(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
        Body::Blob(part) => StreamBody::new(part.pieces().map_ok(Frame::data)).boxed_unsync(),
    };
    let mut response = Response::new(Sent { body, _answering: answering });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The body of an answer. The request counts as being answered until the whole body is on its way
/// or the device is gone.
struct Sent {
    body: UnsyncBoxBody<Bytes, StoreError>,
    _answering: Answering,
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;
    use tufline_folder::{DataFolder, FolderBlobs, FolderChunks, FolderStore, FolderUploads};
    use tufline_store::SystemClock;

    use super::*;

    #[test]
    fn the_stages_keep_their_descriptors() {
        for (limit, expected) in [(0, 16), (256, 16), (420, 36), (1024, 512), (u64::MAX, 512)] {
            assert_eq!(places(limit), expected, "{limit}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_sends_too_slowly_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::lock(folder.path()).unwrap();
        let uploads =
            FolderUploads::open(&data, folder.path().join("uploads"), Arc::new(SystemClock))
                .unwrap();
        let (store, blobs) =
            (Arc::new(FolderStore::new(&data)), Arc::new(FolderBlobs::new(&data, &uploads)));
        let chunks = Arc::new(FolderChunks::new(&data));
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address();
        let serving = tokio::spawn(server.run(store, blobs, chunks, std::future::pending()));
        for sent in [
            "",
            "GET /metadata/timestamp.json HTTP/1.1\r\nHost: x\r\n",
            "POST /metadata/timestamp.json HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx",
            "GET /metadata/timestamp.json HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            let mut device = TcpStream::connect(address).await.unwrap();
            device.write_all(sent.as_bytes()).await.unwrap();
            // Tokio's paused time advances only while nothing else runs.
            let ended = timeout(Duration::from_hours(1), device.read_to_end(&mut Vec::new())).await;
            assert!(ended.is_ok(), "{sent:?} keeps its place");
        }
        serving.abort();
    }
}
