//! Clocks, and the result of a measurement.

use std::collections::BTreeMap;
use std::future::Future;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::HEAP;
use crate::metered::Counted;
use crate::pump::{Course, Pump};

/// What it took to publish something.
pub struct Measured {
    /// From the uploads until the last write of the timestamp.
    pub seconds: f64,
    /// CPU time of the whole process.
    pub cpu_seconds: f64,
    /// The most bytes on the heap above what was there before, including what was stored meanwhile.
    /// `None` if nobody counts.
    pub peak_heap: Option<f64>,
    /// The requests to the ports.
    pub counted: Counted,
    /// What the queues delivered.
    pub course: Course,
}

/// The time that some work took.
pub struct Clocked {
    /// Wall-clock time.
    pub seconds: f64,
    /// CPU time of the whole process.
    pub cpu_seconds: f64,
}

/// Measures the time that `work` takes.
pub async fn clocked(work: impl Future<Output = ()>) -> Clocked {
    let (began, cpu) = (Instant::now(), cpu_seconds());
    work.await;
    Clocked { seconds: began.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - cpu }
}

/// Awaits `uploads`, then runs and measures everything that follows from them.
pub async fn measured(pump: &Pump<'_>, uploads: impl Future<Output = ()>) -> Measured {
    uploads.await;
    pump.meter().reset();
    if let Some(heap) = HEAP {
        heap.reset_peak_usage();
    }
    let before = HEAP.map(|heap| heap.current_usage());
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let course = pump.run().await;
    let cpu_seconds = cpu_seconds() - cpu;
    let peak_heap = HEAP
        .zip(before)
        .map(|(heap, before)| float(heap.peak_usage().saturating_sub(before) as u64));
    let published = pump.meter().published().expect("something was published");
    Measured {
        seconds: (published - began).as_secs_f64(),
        cpu_seconds,
        peak_heap,
        counted: pump.meter().counted(),
        course,
    }
}

/// The CPU time of all threads of this process.
pub fn cpu_seconds() -> f64 {
    seconds_of(ClockId::ProcessCPUTime)
}

/// What a clock of the system says, in seconds.
pub fn seconds_of(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    float(time.tv_sec.unsigned_abs()) + float(time.tv_nsec.unsigned_abs()) / 1e9
}

impl Measured {
    /// The figures as JSON.
    pub fn described(&self) -> Value {
        json!({
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "peak_heap": self.peak_heap,
            "requests": self.counted.requests,
            "written": self.counted.written,
            "sent": self.counted.sent,
            "generations": self.course.generations,
            "batches": self.course.batches,
            "invocations": self.course.invocations.as_ref().map(|invocations| {
                let described = invocations.iter().map(|(queue, taken)| {
                    let longest = taken.iter().copied().fold(0.0, f64::max);
                    let sum: f64 = taken.iter().sum();
                    (*queue, json!({"count": taken.len(), "cpu_seconds": sum, "longest_cpu_seconds": longest}))
                });
                described.collect::<BTreeMap<_, _>>()
            }),
            "came_again": self.course.came_again,
        })
    }
}

/// The median of each figure separately.
pub fn median(taken: &[Measured]) -> Measured {
    let of = |figure: fn(&Measured) -> f64| middle(taken.iter().map(figure).collect());
    let count = |figure: &dyn Fn(&Measured) -> u64| {
        let mut counts: Vec<u64> = taken.iter().map(figure).collect();
        counts.sort_unstable();
        counts[counts.len() / 2]
    };
    let each = |map: fn(&Measured) -> &BTreeMap<&'static str, u64>| -> BTreeMap<&'static str, u64> {
        let keys = taken.iter().flat_map(|measured| map(measured).keys().copied());
        keys.map(|key| (key, count(&|measured| map(measured).get(key).copied().unwrap_or(0))))
            .collect()
    };
    Measured {
        seconds: of(|measured| measured.seconds),
        cpu_seconds: of(|measured| measured.cpu_seconds),
        peak_heap: taken
            .iter()
            .map(|measured| measured.peak_heap)
            .collect::<Option<_>>()
            .map(middle),
        counted: Counted {
            requests: each(|measured| &measured.counted.requests),
            written: each(|measured| &measured.counted.written),
            sent: count(&|measured| measured.counted.sent),
        },
        course: Course {
            generations: count(&|measured| measured.course.generations),
            batches: each(|measured| &measured.course.batches),
            came_again: count(&|measured| measured.course.came_again),
            invocations: None,
        },
    }
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Figures here are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn float(count: u64) -> f64 {
    count as f64
}
