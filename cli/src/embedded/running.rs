//! The running embedded form: starts the stages, the watchers and the server, and stops them.

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

/// How long a clean stop may take. The next start continues what is not finished by then.
const LONGEST_STOP: Duration = Duration::from_secs(5);

/// The options of a repository in a folder.
pub struct Options {
    pub data: PathBuf,
    /// The uploads folder; `None` for `DATA/uploads`.
    pub uploads: Option<PathBuf>,
    /// The address and port on which to serve devices.
    pub listen: SocketAddr,
    /// How many bins a new repository has.
    pub bins: FirstBins,
    /// Receives what each stage did, for the demo.
    pub reports: Option<mpsc::UnboundedSender<StageRun>>,
}

/// A running repository.
pub struct Running {
    /// Its folders and URLs, as in `DATA/endpoints.json`.
    pub endpoints: FolderEndpoints,
    pub data: PathBuf,
    /// Whether this start made the keys.
    pub is_new: bool,
    /// The open repository, for the demo and for tests.
    pub repository: LocalRepository,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    _watchers: [Watcher; 2],
}

impl Running {
    /// Opens or creates the repository and starts everything. `DATA/endpoints.json` exists when
    /// this returns.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        for path in [Some(&options.data), options.uploads.as_ref()].into_iter().flatten() {
            // Checked before anything is created there.
            ensure!(
                std::path::absolute(path)?.to_str().is_some(),
                "{} is not UTF-8, so the endpoints file cannot name it: choose another folder",
                path.quoted()
            );
        }
        let repository = LocalRepository::open(&options.data, options.uploads.as_deref()).await?;
        let server = Server::bind(options.listen).await?;
        let data = repository.data.path().to_owned();
        // A process that was killed may have left it.
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
        files::write(
            &endpoints_file(&data),
            format!("{}\n", serde_json::to_string_pretty(&endpoints)?).as_bytes(),
        )?;
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

    /// Stops. Work in progress is finished if that doesn't take long ([`LONGEST_STOP`]).
    pub async fn stop(mut self) -> anyhow::Result<()> {
        files::remove(&endpoints_file(&self.data))?;
        self.stop.send_replace(true);
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LONGEST_STOP, finished).await.is_err() {
            tracing::warn!("stopped before all work was finished; the next start continues it");
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

/// The URL of `path` for a program on this machine: an unspecified address becomes the loopback
/// address.
fn url(address: SocketAddr, path: &str) -> anyhow::Result<Url> {
    let host = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let address = SocketAddr::new(host, address.port());
    format!("http://{address}{path}").parse().context("the address cannot be written as a URL")
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
