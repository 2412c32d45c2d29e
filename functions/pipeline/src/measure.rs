//! What the stages measure, through the `metrics` facade. On AWS the Lambda binary prints the
//! metrics for CloudWatch (namespace [`NAMESPACE`], dimension `Repository`). The embedded form
//! records none.
//!
//! A counter counts what was done at least once: a stage that runs again after a crash counts
//! twice.

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use tough::schema::Root;
use tufline_tuf::{Manifest, Time, time};

use crate::state::ledger::Published;

/// The namespace of all metrics in CloudWatch.
pub const NAMESPACE: &str = "Tufline";

/// Histogram, seconds: from an upload's `Last-Modified` (whole seconds) until its event was sent.
/// Devices see the upload by then.
const UPLOAD_TO_PUBLISHED: &str = "UploadToPublished";

/// Counter: new or changed targets that were published.
const PUBLISHED: &str = "Published";

/// Counter: uploads that hash or rebuild rejected.
const REJECTED: &str = "Rejected";

/// Counter: generations that publish showed to devices.
const GENERATIONS: &str = "Generations";

/// Histogram: changes folded into one generation.
const BATCH_SIZE: &str = "BatchSize";

/// Counter: generations that sign or publish refused.
const GATE_REFUSALS: &str = "GateRefusals";

/// Gauge, seconds, with the further dimension `Role`: until the first published document of that
/// role expires.
const SECONDS_TO_EXPIRY: &str = "SecondsToExpiry";

/// Gauge: files in the places of roots that do not verify, and so count as absent.
const IGNORED_ROOTS: &str = "IgnoredRoots";

/// Gauge, seconds: how long the oldest generation that devices do not see yet has waited; 0 where
/// none waits.
const PUBLICATION_LAG: &str = "PublicationLag";

/// How many values of a metric CloudWatch takes at once
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).
const MOST_VALUES: usize = 100;

/// Declares each metric's unit. Call it once per process, after the recorder is installed.
pub fn describe() {
    describe_histogram!(UPLOAD_TO_PUBLISHED, Unit::Seconds, "from an upload until devices see it");
    describe_counter!(PUBLISHED, Unit::Count, "targets published, new or changed");
    describe_counter!(REJECTED, Unit::Count, "uploads rejected");
    describe_counter!(GENERATIONS, Unit::Count, "generations shown to devices");
    describe_histogram!(BATCH_SIZE, Unit::Count, "changes folded into one generation");
    describe_counter!(GATE_REFUSALS, Unit::Count, "generations refused by the gate");
    describe_gauge!(IGNORED_ROOTS, Unit::Count, "files in the places of roots that do not verify");
    describe_gauge!(
        PUBLICATION_LAG,
        Unit::Seconds,
        "since the oldest generation that waits for publication was made"
    );
    describe_gauge!(
        SECONDS_TO_EXPIRY,
        Unit::Seconds,
        "until a published document of the role expires"
    );
}

pub(crate) fn rejected() {
    counter!(REJECTED).increment(1);
}

pub(crate) fn batch(changes: usize) {
    histogram!(BATCH_SIZE).record(value(i64::try_from(changes).unwrap_or(i64::MAX)));
}

pub(crate) fn generation_shown() {
    counter!(GENERATIONS).increment(1);
}

pub(crate) fn gate_refusal() {
    counter!(GATE_REFUSALS).increment(1);
}

/// Records that the targets which `manifests` changed were published at `now`.
pub(crate) fn published(manifests: &[Manifest], now: Time) {
    let uploaded = manifests
        .iter()
        .flat_map(|manifest| &manifest.changes)
        .filter_map(|change| change.uploaded);
    let mut waits: Vec<i64> =
        uploaded.map(|uploaded| time::seconds_between(uploaded, now).max(0)).collect();
    counter!(PUBLISHED).increment(waits.len() as u64);
    waits.sort_unstable();
    for wait in spread(&waits, MOST_VALUES) {
        histogram!(UPLOAD_TO_PUBLISHED).record(value(wait));
    }
}

/// At most `most` of the `values`, evenly spread. The first and the last are among them.
fn spread(values: &[i64], most: usize) -> impl Iterator<Item = i64> {
    let steps = most.min(values.len());
    (0..steps).filter_map(move |step| {
        let index = if steps > 1 { step * (values.len() - 1) / (steps - 1) } else { 0 };
        values.get(index).copied()
    })
}

pub(crate) fn ignored_roots(count: usize) {
    gauge!(IGNORED_ROOTS).set(value(i64::try_from(count).unwrap_or(i64::MAX)));
}

/// Records for how many seconds the oldest generation that devices do not see yet has waited.
pub(crate) fn publication_lag(seconds: i64) {
    gauge!(PUBLICATION_LAG).set(value(seconds.max(0)));
}

/// Records, for each role, how long devices can use what is published.
pub(crate) fn expiries(roots: &[Root], published: &Published, manifest: &Manifest, now: Time) {
    for (role, expires) in [
        ("root", roots.iter().map(|root| root.expires).min()),
        ("timestamp", Some(published.expires)),
        ("snapshot", Some(manifest.snapshot_expires)),
        ("targets", Some(manifest.top.document.expires)),
        ("bins", manifest.top.bins.as_ref().map(|bins| bins.first_to_expire.expires)),
    ] {
        if let Some(expires) = expires {
            gauge!(SECONDS_TO_EXPIRY, "Role" => role)
                .set(value(time::seconds_between(now, expires)));
        }
    }
}

/// CloudWatch's values are floating-point numbers. Counts here stay far below 2^52, so they are
/// exact.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn value(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_kept_and_many_are_spread() {
        let taken =
            |count: i64, most| spread(&(0..count).collect::<Vec<_>>(), most).collect::<Vec<_>>();
        assert!(taken(0, 3).is_empty());
        assert_eq!(taken(1, 3), [0]);
        assert_eq!(taken(3, 3), [0, 1, 2]);
        assert_eq!(taken(1001, 3), [0, 500, 1000]);
        assert_eq!(taken(7, 1), [0]);
    }
}
