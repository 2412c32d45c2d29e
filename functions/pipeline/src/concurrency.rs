//! Requests under way together: how many, and in which order they are looked at.

use futures::stream::{self, StreamExt};

use crate::error::Result;

/// How many requests a stage has under way at once. S3 takes 3,500 writes a second and prefix; what limits here is the
/// memory and the network of a small function.
pub(crate) const REQUESTS_AT_ONCE: usize = 32;

/// How many HEAD requests a stage has under way at once, of which nothing is held in memory: at 20 ms each that is what S3
/// takes a second and prefix, 5,500 (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>).
pub(crate) const HEADS_AT_ONCE: usize = 110;

/// Runs requests, [`REQUESTS_AT_ONCE`] at a time; answers come in any order.
pub(crate) async fn at_once<F: Future>(requests: impl Iterator<Item = F>) -> Vec<F::Output> {
    some_at_once(REQUESTS_AT_ONCE, requests).await
}

/// Runs requests, `most` at a time; answers come in any order.
///
/// Takes what an iterator makes all at once: an iterator over borrowed things that lives on while a future waits keeps that
/// future from moving between threads (<https://github.com/rust-lang/rust/issues/102211>).
pub(crate) async fn some_at_once<F: Future>(most: usize, requests: impl Iterator<Item = F>) -> Vec<F::Output> {
    let requests: Vec<F> = requests.collect();
    stream::iter(requests).buffer_unordered(most).collect().await
}

/// Looks at `entries` in order, some together, twice as many each time, so that no more are looked at for nothing than there was reason to;
/// `is_last` says with which answer it ends. Answers what was looked at, in order.
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
