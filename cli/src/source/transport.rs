//! Fetching from URLs and from folders.

use anyhow::bail;
use futures::StreamExt;
use tough::{FilesystemTransport, Transport, TransportError, TransportStream, async_trait};
use url::Url;

use crate::access::DeviceTransport;

/// As a device fetches, and from `file:` URLs too.
#[derive(Debug, Clone)]
pub struct AnyTransport(pub DeviceTransport);

#[async_trait]
impl Transport for AnyTransport {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        match url.scheme() {
            "file" => FilesystemTransport.fetch(url).await,
            _ => self.0.fetch(url).await,
        }
    }
}

/// The bytes at `url`, of which there may be `most`.
pub async fn read(transport: &dyn Transport, url: Url, most: u64) -> anyhow::Result<Vec<u8>> {
    let (mut stream, mut bytes) = (transport.fetch(url.clone()).await?, Vec::new());
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() as u64 > most {
            bail!("{url} has more than {most} bytes");
        }
    }
    Ok(bytes)
}
