//! How many requests a stage has in flight at once, and in which order it handles the answers.

use futures::stream::{self, StreamExt};

use crate::error::Result;

/// How many requests a stage has in flight at once. S3 accepts 3,500 writes per second and prefix,
/// so the limit here is a small function's memory and network.
pub(crate) const REQUESTS_AT_ONCE: usize = 32;

/// How many HEAD requests a stage has in flight at once. Their answers take no memory worth
/// counting. At 20 ms each, this is as many as S3 accepts per second and prefix, 5,500
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>).
pub(crate) const HEADS_AT_ONCE: usize = 110;

/// Runs requests, [`REQUESTS_AT_ONCE`] at a time. The answers come in any order.
pub(crate) async fn at_once<F: Future>(requests: impl Iterator<Item = F>) -> Vec<F::Output> {
    some_at_once(REQUESTS_AT_ONCE, requests).await
}

/// Runs requests, `most` at a time. The answers come in any order.
///
/// It collects the iterator first. An iterator over borrowed values that stays alive across an
/// `await` keeps the future from being `Send` (<https://github.com/rust-lang/rust/issues/102211>).
pub(crate) async fn some_at_once<F: Future>(
    most: usize,
    requests: impl Iterator<Item = F>,
) -> Vec<F::Output> {
    let requests: Vec<F> = requests.collect();
    stream::iter(requests).buffer_unordered(most).collect().await
}

/// Looks at `entries` in order and stops after the first answer for which `is_last` holds. Returns
/// the answers up to that one, in order.
///
/// The first round looks at one entry, and each round at twice as many as the one before, up to
/// [`REQUESTS_AT_ONCE`]. So it never wastes more looks than it needed.
pub(crate) async fn look_in_order<'a, E, F: Future<Output = Result<A>>, A>(
    entries: &'a [E],
    look: impl Fn(&'a E) -> F,
    is_last: impl Fn(&A) -> bool,
) -> Result<Vec<A>> {
    let (mut answers, mut left, mut count) = (Vec::new(), entries, 1);
    while !left.is_empty() {
        let (some, rest) = left.split_at(count.min(left.len()));
        let looks: Vec<F> = some.iter().map(&look).collect();
        for answer in stream::iter(looks).buffered(REQUESTS_AT_ONCE).collect::<Vec<_>>().await {
            let answer = answer?;
            let ends = is_last(&answer);
            answers.push(answer);
            if ends {
                return Ok(answers);
            }
        }
        (left, count) = (rest, (2 * count).min(REQUESTS_AT_ONCE));
    }
    Ok(answers)
}
