//! Decides what became of an upload, from what devices see and what is known about the upload. No
//! I/O.

use serde::Serialize;
use tufline_tuf::Sha256;

/// A target as a device sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisibleTarget {
    /// The digest of its bytes.
    pub sha256: Sha256,
    /// The length in bytes.
    pub length: u64,
}

/// What the caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Devices see what is uploaded now.
    Current,
    /// Devices see these bytes.
    Bytes(Sha256),
    /// Devices no longer see the target.
    Gone,
}

/// What is uploaded under a name now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CurrentUpload {
    Nothing,
    Upload {
        /// Its digest; `None` until it is known.
        sha256: Option<Sha256>,
        /// Why it was rejected, if it was. Its digest may then stay unknown.
        rejection: Option<String>,
    },
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum UploadEnding {
    /// Devices see it.
    Published {
        /// The digest of its bytes.
        sha256: Sha256,
        /// The length in bytes.
        length: u64,
        /// The generation in which they see it, not necessarily the first one.
        generation: u64,
    },
    /// Devices no longer see the target.
    Gone {
        /// The generation in which they don't see it, not necessarily the first one.
        generation: u64,
    },
    /// The upload was rejected.
    Rejected { reason: String },
    /// The caller may not see what became of it, so waiting longer doesn't help.
    Denied {
        /// What was denied.
        reason: String,
    },
    /// The time is up, and other bytes are uploaded under the name, so devices will hardly see the
    /// awaited ones any more.
    Superseded {
        /// The digest of those bytes.
        sha256: Sha256,
    },
    /// None of these happened in time.
    TimedOut {
        /// What is known about it.
        reason: String,
    },
}

/// What devices see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceView {
    pub generation: u64,
    /// The target, if devices see it.
    pub target: Option<VisibleTarget>,
}

/// Decides what became of an upload; `None` if that is not decided yet. `seen` is `None` until a
/// device has verified anything.
pub fn decide(
    goal: Goal,
    seen: Option<DeviceView>,
    current: &CurrentUpload,
) -> Option<UploadEnding> {
    let target = seen.and_then(|seen| seen.target);
    let wanted = match (goal, current) {
        (Goal::Bytes(sha256), _) => Some(sha256),
        (Goal::Current, CurrentUpload::Upload { sha256, .. }) => *sha256,
        // Uploads may expire, and what is published stays.
        (Goal::Current, CurrentUpload::Nothing) => target.map(|target| target.sha256),
        (Goal::Gone, _) => None,
    };
    match seen {
        Some(DeviceView { generation, target: None }) if goal == Goal::Gone => {
            return Some(UploadEnding::Gone { generation });
        }
        Some(DeviceView { generation, target: Some(VisibleTarget { sha256, length }) })
            if wanted == Some(sha256) =>
        {
            return Some(UploadEnding::Published { sha256, length, generation });
        }
        _ => {}
    }
    match current {
        CurrentUpload::Upload { rejection: Some(reason), .. }
            if goal != Goal::Gone && other_bytes(goal, current).is_none() =>
        {
            Some(UploadEnding::Rejected { reason: reason.clone() })
        }
        _ => None,
    }
}

/// The digest of what is uploaded now, if that is known not to be the awaited bytes.
pub fn other_bytes(goal: Goal, current: &CurrentUpload) -> Option<Sha256> {
    match (goal, current) {
        (Goal::Bytes(wanted), CurrentUpload::Upload { sha256: Some(found), .. }) => {
            Some(*found).filter(|found| *found != wanted)
        }
        _ => None,
    }
}

/// What to say about another undecided upload when the time is up.
pub fn why_not(goal: Goal, seen: Option<DeviceView>, current: &CurrentUpload) -> String {
    let target = seen.and_then(|seen| seen.target);
    match (goal, current, seen) {
        (_, _, None) => "devices could not be asked".into(),
        (Goal::Gone, CurrentUpload::Nothing, _) => {
            "devices still see it though its upload is gone; if many were removed at once, \
             `tufline status` says whether they are held"
                .into()
        }
        (Goal::Gone, CurrentUpload::Upload { .. }, _) => "devices still see it, and its upload is \
                                                          still there"
            .into(),
        (_, CurrentUpload::Nothing, _) if target.is_none() => "no such upload exists, and devices \
                                                               see no such target"
            .into(),
        (_, _, Some(DeviceView { target: Some(VisibleTarget { sha256, .. }), .. })) => {
            format!("devices still see other bytes, with sha256 {sha256}")
        }
        _ => "it is uploaded, but devices don't see it yet".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as `decide` takes it")]
    fn seen(bytes: Option<&[u8]>) -> Option<DeviceView> {
        let target = bytes
            .map(|bytes| VisibleTarget { sha256: Sha256::of(bytes), length: bytes.len() as u64 });
        Some(DeviceView { generation: 7, target })
    }

    fn upload(bytes: Option<&[u8]>, rejection: Option<&str>) -> CurrentUpload {
        CurrentUpload::Upload {
            sha256: bytes.map(Sha256::of),
            rejection: rejection.map(str::to_owned),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as `decide` answers it")]
    fn published(bytes: &[u8]) -> Option<UploadEnding> {
        Some(UploadEnding::Published {
            sha256: Sha256::of(bytes),
            length: bytes.len() as u64,
            generation: 7,
        })
    }

    #[test]
    fn what_devices_see_of_the_current_upload_counts() {
        let goal = Goal::Current;
        assert_eq!(decide(goal, seen(Some(b"a")), &upload(Some(b"a"), None)), published(b"a"));
        assert_eq!(decide(goal, seen(Some(b"old")), &upload(Some(b"a"), None)), None);
        assert_eq!(decide(goal, seen(Some(b"old")), &upload(None, None)), None, "not hashed yet");
        assert_eq!(decide(goal, seen(None), &upload(Some(b"a"), None)), None);
        assert_eq!(decide(goal, None, &upload(Some(b"a"), None)), None);
        assert_eq!(decide(goal, seen(Some(b"a")), &CurrentUpload::Nothing), published(b"a"));
        assert_eq!(decide(goal, seen(None), &CurrentUpload::Nothing), None);
        let rejected = Some(UploadEnding::Rejected { reason: "no".into() });
        assert_eq!(decide(goal, seen(Some(b"old")), &upload(None, Some("no"))), rejected);
        assert_eq!(decide(goal, None, &upload(None, Some("no"))), rejected);
    }

    #[test]
    fn requested_bytes_count_whatever_is_uploaded_now() {
        let goal = Goal::Bytes(Sha256::of(b"a"));
        assert_eq!(decide(goal, seen(Some(b"a")), &upload(Some(b"b"), None)), published(b"a"));
        assert_eq!(decide(goal, seen(Some(b"b")), &upload(Some(b"b"), None)), None);
        assert_eq!(other_bytes(goal, &upload(Some(b"b"), None)), Some(Sha256::of(b"b")));
        // Somebody else's upload, rejected: that says nothing about ours.
        assert_eq!(decide(goal, seen(None), &upload(Some(b"b"), Some("no"))), None);
        let rejected = Some(UploadEnding::Rejected { reason: "no".into() });
        for bytes in [Some(&b"a"[..]), None] {
            assert_eq!(decide(goal, seen(None), &upload(bytes, Some("no"))), rejected);
        }
        for current in [upload(Some(b"a"), None), upload(None, None), CurrentUpload::Nothing] {
            assert_eq!(other_bytes(goal, &current), None);
        }
        assert_eq!(other_bytes(Goal::Current, &upload(Some(b"b"), None)), None);
    }

    #[test]
    fn a_removal_counts_once_devices_no_longer_see_the_target() {
        assert_eq!(
            decide(Goal::Gone, seen(None), &upload(None, Some("no"))),
            Some(UploadEnding::Gone { generation: 7 })
        );
        assert_eq!(decide(Goal::Gone, None, &CurrentUpload::Nothing), None);
        assert_eq!(decide(Goal::Gone, seen(Some(b"a")), &CurrentUpload::Nothing), None);
        assert!(
            why_not(Goal::Gone, seen(Some(b"a")), &CurrentUpload::Nothing).contains("still see it")
        );
    }

    #[test]
    fn an_unknown_name_is_distinguished_from_a_slow_upload() {
        assert!(
            why_not(Goal::Current, seen(None), &CurrentUpload::Nothing)
                .starts_with("no such upload exists")
        );
        assert!(
            why_not(Goal::Current, seen(None), &upload(None, None)).starts_with("it is uploaded")
        );
        assert!(
            why_not(Goal::Current, seen(Some(b"a")), &upload(None, None))
                .starts_with("devices still see other")
        );
        assert_eq!(
            why_not(Goal::Current, None, &CurrentUpload::Nothing),
            "devices could not be asked"
        );
    }
}
