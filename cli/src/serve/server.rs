//! The HTTP server around [`Repository::answer`].

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tufline_functions::serve::{self, Answer, Body, Repository};
use tufline_store::{Blobs, Store};

/// How long to wait before the second and the third try of a failed read: a device waits as well.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];

/// How long downloads may go on once the server is told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// A server that has its port and doesn't answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes the port.
    ///
    /// # Errors
    /// Where the port is taken or the address isn't this machine's.
    pub async fn bind(listen: SocketAddr) -> anyhow::Result<Self> {
        let listener = match TcpListener::bind(listen).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                bail!("{listen} is taken by another program: stop it, or choose another address with --listen")
            }
            result => result.with_context(|| format!("cannot listen on {listen}"))?,
        };
        let address = listener.local_addr().context("cannot listen")?;
        Ok(Self { listener, address })
    }

    /// Where it listens; the port is the real one where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers devices from `store` and `blobs` until `stop` is ready; downloads under way then get a moment more.
    pub async fn run(
        self,
        store: Arc<dyn Store>,
        blobs: Arc<dyn Blobs>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let repository = Repository { store, blobs, detour: None, pauses: PAUSES.to_vec() };
        let router = Router::new().fallback(answer).with_state(repository);
        // Answers are small, and a device waits for each before it asks for the next.
        let listener = self.listener.tap_io(|stream| _ = stream.set_nodelay(true));
        let (stopping, mut stopped) = watch::channel(false);
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
            stop.await;
            stopping.send_replace(true);
        });
        tokio::select! {
            result = serving.into_future() => result.context("the HTTP server failed"),
            () = async {
                _ = stopped.wait_for(|stopped| *stopped).await;
                tokio::time::sleep(GRACE).await;
            } => Ok(()),
        }
    }
}

async fn answer(State(repository): State<Repository>, request: Request) -> Response {
    let answer = match serve::decode(request.uri().path()) {
        Some(path) => repository.answer(request.method(), &path, request.headers()).await,
        None => serve::bad_path(),
    };
    response(answer)
}

fn response(Answer { status, headers, body }: Answer) -> Response {
    let body = match body {
        Body::Whole(bytes) => bytes.into(),
        Body::Blob(part) => axum::body::Body::from_stream(part.pieces()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
