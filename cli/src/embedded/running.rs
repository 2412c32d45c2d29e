//! The embedded form while it runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tufline_folder::Watcher;
use tufline_serve::PACK_PATH;
use tufline_tuf::generation::FirstBins;
use url::Url;

use super::opened::LocalRepository;
use super::troubles::Troubles;
use super::workers::{StageRun, Worker};
use crate::files;
use crate::repository::{FolderEndpoints, PublicEndpoints};
use crate::server::Server;
use crate::text::Quoted;

/// How long a clean stop may take. What isn't finished then is continued by the next start.
const LONGEST_STOP: Duration = Duration::from_secs(5);

/// What to run.
pub struct Options {
    /// The data folder.
    pub data: PathBuf,
    /// The uploads folder; `None` for `DATA/uploads`.
    pub uploads: Option<PathBuf>,
    /// Where to answer devices.
    pub listen: SocketAddr,
    /// Into how many bins a new repository is split.
    pub bins: FirstBins,
    /// Where to tell what each stage does.
    pub reports: Option<mpsc::UnboundedSender<StageRun>>,
}

/// A running repository.
pub struct Running {
    /// Where everything is, as in `DATA/endpoints.json`.
    pub endpoints: FolderEndpoints,
    /// The data folder.
    pub data: PathBuf,
    /// Whether this start made the keys.
    pub is_new: bool,
    /// For whoever looks inside.
    pub repository: LocalRepository,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    _watchers: [Watcher; 2],
}

impl Running {
    /// Opens or makes the repository and starts everything; `DATA/endpoints.json` is there when this returns.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        for path in [Some(&options.data), options.uploads.as_ref()].into_iter().flatten() {
            // Before anything is made there.
            ensure!(
                std::path::absolute(path)?.to_str().is_some(),
                "{} is not UTF-8, which the endpoints file must be: give another folder",
                path.quoted()
            );
        }
        let repository = LocalRepository::open(&options.data, options.uploads.as_deref()).await?;
        let server = Server::bind(options.listen).await?;
        let data = repository.data.path().to_owned();
        // Of a process that was killed.
        files::remove(&endpoints_file(&data))?;
        let trusted_root = repository.begin(options.bins).await?;

        let (stop, stopped) = watch::channel(false);
        let (watcher, hints) = Watcher::start(&repository.uploads);
        let (deliveries_watcher, deliveries) = Watcher::start(&repository.deliveries);
        let troubles = Troubles::new(&data, repository.ports.clock.clone())?;
        let worker = Worker {
            ports: repository.ports.clone(),
            uploads: repository.uploads.clone(),
            queues: repository.queues.clone(),
            stop: stopped.clone(),
            reports: options.reports,
            data: data.clone(),
            troubles,
            cutting: repository.cutting.clone(),
        };
        let endpoints = FolderEndpoints {
            uploads: repository.uploads.path().to_owned(),
            public: PublicEndpoints {
                metadata_url: url(server.address(), "/metadata/")?,
                targets_url: url(server.address(), "/targets/")?,
                pack_url: Some(url(server.address(), PACK_PATH)?),
                trusted_root,
            },
            events: repository.events.clone(),
        };
        let mut tasks = worker.start(hints, deliveries);
        tasks.spawn(serve(server, &repository, stopped));
        files::write(&endpoints_file(&data), format!("{}\n", serde_json::to_string_pretty(&endpoints)?).as_bytes())?;
        Ok(Self {
            endpoints,
            data,
            is_new: repository.is_new,
            repository,
            tasks,
            stop,
            _watchers: [watcher, deliveries_watcher],
        })
    }

    /// Stops: what is under way is finished, if it doesn't take long.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        files::remove(&endpoints_file(&self.data))?;
        self.stop.send_replace(true);
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LONGEST_STOP, finished).await.is_err() {
            tracing::warn!("stopped before everything was finished; the next start goes on with it");
        }
        Ok(())
    }
}

fn endpoints_file(data: &Path) -> PathBuf {
    data.join("endpoints.json")
}

fn serve(
    server: Server,
    repository: &LocalRepository,
    mut stopped: watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<> {
    let (store, blobs) = (repository.ports.store.clone(), repository.ports.blobs.clone());
    let chunks = Arc::new(repository.chunks.clone());
    async move {
        let stop = async move { _ = stopped.wait_for(|stop| *stop).await };
        server.run(store, blobs, chunks, stop).await;
    }
}

/// The URL of `path` for someone on this machine.
fn url(address: SocketAddr, path: &str) -> anyhow::Result<Url> {
    let host = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let address = SocketAddr::new(host, address.port());
    format!("http://{address}{path}").parse().context("the address makes no URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_can_be_used_on_this_machine() {
        for (address, expected) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080/metadata/"),
            ("0.0.0.0:1", "http://127.0.0.1:1/metadata/"),
            ("[::]:1", "http://[::1]:1/metadata/"),
            ("10.0.0.1:80", "http://10.0.0.1/metadata/"),
        ] {
            assert_eq!(url(address.parse().unwrap(), "/metadata/").unwrap().as_str(), expected);
        }
    }
}
