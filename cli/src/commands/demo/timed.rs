//! A transport that notes when each file was requested.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tough::{HttpTransport, Transport, TransportError, TransportStream};
use url::Url;

/// An HTTP transport that notes the time of each request.
#[derive(Debug, Clone)]
pub struct Timed {
    inner: HttpTransport,
    requests: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Timed {
    pub fn new(inner: HttpTransport) -> Self {
        Self { inner, requests: Arc::default() }
    }

    /// How long each role took, in order: from its first request to the first one for another role,
    /// or to `end`.
    pub fn roles(&self, end: Instant) -> Vec<(String, Duration)> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let mut roles: Vec<(String, Instant)> = Vec::new();
        for (file, begin) in &*requests {
            let role = role(file);
            if roles.last().is_none_or(|(last, _)| *last != role) {
                roles.push((role, *begin));
            }
        }
        let ends = roles.iter().skip(1).map(|(_, begin)| *begin).chain([end]);
        roles.iter().zip(ends).map(|((role, begin), end)| (role.clone(), end - *begin)).collect()
    }
}

/// The role of a metadata file: `"snapshot"` for `7.snapshot.json`.
fn role(file: &str) -> String {
    let name = file.strip_suffix(".json").unwrap_or(file);
    name.rsplit_once('.').map_or(name, |(_, role)| role).to_owned()
}

#[async_trait]
impl Transport for Timed {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let file = url.path().rsplit('/').next().unwrap_or_default().to_owned();
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push((file, Instant::now()));
        self.inner.fetch(url).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_lasts_until_the_next() {
        let begin = Instant::now();
        let timed = Timed::new(HttpTransport::default());
        let files =
            [("2.root.json", 0), ("3.root.json", 2), ("timestamp.json", 5), ("7.snapshot.json", 6)];
        *timed.requests.lock().unwrap() = files
            .iter()
            .map(|(file, at)| ((*file).to_owned(), begin + Duration::from_secs(*at)))
            .collect();
        let roles = timed.roles(begin + Duration::from_secs(9));
        let expected = [("root", 5), ("timestamp", 1), ("snapshot", 3)];
        assert_eq!(
            roles,
            expected.map(|(role, seconds)| (role.to_owned(), Duration::from_secs(seconds)))
        );
    }
}
