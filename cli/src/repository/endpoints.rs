//! The formats of `endpoints.json`, which says where a repository is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tufline_aws::{AccessKey, Resources};
use tufline_store::Queue;
use url::Url;

use crate::process;
use crate::text::Quoted;

/// What a device needs to find a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicEndpoints {
    /// The URL of the metadata; it ends in `/`.
    pub metadata_url: Url,
    /// The URL of the targets; it ends in `/`.
    pub targets_url: Url,
    /// The URL of packs, if the repository serves any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack_url: Option<Url>,
    /// The file with the root that devices ship with.
    pub trusted_root: PathBuf,
}

/// `endpoints.json` of the embedded form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderEndpoints {
    pub uploads: PathBuf,
    /// The endpoints for devices.
    #[serde(flatten)]
    pub public: PublicEndpoints,
    /// The events file, in the data folder.
    pub events: PathBuf,
}

impl FolderEndpoints {
    pub fn data(&self) -> anyhow::Result<&Path> {
        self.events.parent().context("`events` in the endpoints file is not a path in a folder")
    }
}

/// `endpoints.json` of the form on AWS. Its credentials are an uploader's.
#[derive(Debug, Deserialize)]
pub struct AwsEndpoints {
    /// The URL of the services, if they aren't AWS's own.
    pub aws: Option<String>,
    pub region: Option<String>,
    /// The access key that signs requests.
    #[serde(flatten)]
    pub key: Option<AccessKeyFile>,
    uploads_bucket: String,
    uploads_prefix: String,
    repository_bucket: Option<String>,
    ledger_bucket: Option<String>,
    /// The endpoints for devices.
    #[serde(flatten)]
    pub public: Option<PublicEndpoints>,
    #[serde(default)]
    queues: BTreeMap<String, String>,
    event_bus: Option<String>,
}

/// An AWS access key in a file.
#[derive(Debug, Clone, Deserialize)]
pub struct AccessKeyFile {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

impl From<AccessKeyFile> for AccessKey {
    fn from(file: AccessKeyFile) -> Self {
        Self {
            id: file.access_key_id,
            secret: file.secret_access_key,
            session_token: file.session_token,
        }
    }
}

impl AwsEndpoints {
    /// The resources that the file names. The KMS keys, which it never names, come from the
    /// environment.
    pub fn resources(&self) -> Resources {
        let url = |queue: Queue, kind: &str| {
            let fifo = if queue.is_fifo() { ".fifo" } else { "" };
            let url = self.queues.get(&format!("{}{kind}{fifo}", queue.name()))?;
            Some((queue, url.clone()))
        };
        Resources {
            uploads_bucket: Some(self.uploads_bucket.clone()),
            uploads_prefix: Some(self.uploads_prefix.clone()),
            repository_bucket: self.repository_bucket.clone(),
            ledger_bucket: self.ledger_bucket.clone(),
            queues: Queue::ALL.into_iter().filter_map(|queue| url(queue, "")).collect(),
            dead_letter_queues: Queue::ALL
                .into_iter()
                .filter_map(|queue| url(queue, "-dlq"))
                .collect(),
            chunk_queue: self.queues.get("chunk").cloned(),
            chunk_dead_letters: self.queues.get("chunk-dlq").cloned(),
            event_bus: self.event_bus.clone(),
            ..Resources::from_variables(process::variable)
        }
    }
}

/// An endpoints file of either form.
pub enum EndpointsFile {
    /// The file of a repository in a folder.
    Folder(Box<FolderEndpoints>),
    /// The file of a repository on AWS.
    Aws(Box<AwsEndpoints>),
}

impl EndpointsFile {
    /// Parses `text`, the contents of `file`.
    pub fn parse(text: &[u8], file: &Path) -> anyhow::Result<Self> {
        let not_endpoints = || format!("{} is not an endpoints file", file.quoted());
        let value: Value = serde_json::from_slice(text).with_context(not_endpoints)?;
        // A relative path in the file starts at the file's folder, wherever that was moved.
        let folder = file.parent().unwrap_or(Path::new(""));
        if value.get("uploads_bucket").is_none() {
            let mut endpoints: FolderEndpoints =
                serde_json::from_value(value).with_context(not_endpoints)?;
            endpoints.public.trusted_root = folder.join(&endpoints.public.trusted_root);
            return Ok(Self::Folder(Box::new(endpoints)));
        }
        let mut endpoints: AwsEndpoints =
            serde_json::from_value(value).with_context(not_endpoints)?;
        if let Some(public) = &mut endpoints.public {
            public.trusted_root = folder.join(&public.trusted_root);
        }
        Ok(Self::Aws(Box::new(endpoints)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_forms_file_has_exactly_its_fields() {
        let endpoints = FolderEndpoints {
            uploads: "/d/uploads".into(),
            public: PublicEndpoints {
                metadata_url: "http://127.0.0.1:8080/metadata/".parse().unwrap(),
                targets_url: "http://127.0.0.1:8080/targets/".parse().unwrap(),
                pack_url: Some("http://127.0.0.1:8080/pack".parse().unwrap()),
                trusted_root: "/d/root.json".into(),
            },
            events: "/d/events.jsonl".into(),
        };
        let json = serde_json::to_value(&endpoints).unwrap();
        let fields: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            fields,
            ["events", "metadata_url", "pack_url", "targets_url", "trusted_root", "uploads"]
        );
        let EndpointsFile::Folder(read) =
            EndpointsFile::parse(json.to_string().as_bytes(), Path::new("/d/endpoints.json"))
                .unwrap()
        else {
            panic!()
        };
        assert_eq!(*read, endpoints);
        assert_eq!(read.data().unwrap(), Path::new("/d"));
    }

    #[test]
    fn the_file_of_a_deployment_is_read() {
        let json = serde_json::json!({
            "aws": "http://127.0.0.1:1", "region": "eu-central-1", "access_key_id": "A", "secret_access_key": "S",
            "uploads_bucket": "u", "uploads_prefix": "targets/", "repository_bucket": "r", "ledger_bucket": "l",
            "metadata_url": "http://h/metadata/", "targets_url": "http://h/targets/", "trusted_root": "root.json",
            "queues": {"uploads": "q", "uploads-dlq": "d", "sign.fifo": "s", "sign-dlq.fifo": "sd"}, "event_bus": "b",
        });
        let EndpointsFile::Aws(endpoints) =
            EndpointsFile::parse(json.to_string().as_bytes(), Path::new("/x/endpoints.json"))
                .unwrap()
        else {
            panic!()
        };
        let found = endpoints.resources();
        assert_eq!(
            found.queues,
            BTreeMap::from([(Queue::Uploads, "q".into()), (Queue::Sign, "s".into())])
        );
        assert_eq!(found.dead_letter_queues[&Queue::Sign], "sd");
        assert_eq!(endpoints.public.unwrap().trusted_root, Path::new("/x/root.json"));
        let key: AccessKey = endpoints.key.unwrap().into();
        assert_eq!((key.id.as_str(), key.session_token), ("A", None));
    }

    #[test]
    fn a_file_that_is_not_an_endpoints_file_is_refused() {
        for text in ["", "[]", "{}", r#"{"uploads": "x"}"#, r#"{"uploads_bucket": 1}"#] {
            assert!(EndpointsFile::parse(text.as_bytes(), Path::new("e.json")).is_err(), "{text}");
        }
    }
}
