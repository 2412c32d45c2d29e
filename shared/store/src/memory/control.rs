//! Faults that a test plans.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A request that a port is about to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// What the request does, as in [`StoreError::action`](crate::StoreError::action).
    pub action: &'static str,
    /// What it is about, as in [`StoreError::place`](crate::StoreError::place).
    pub place: &'a str,
    /// Whether the request changes anything.
    pub writes: bool,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done, and the reply arrives.
    Done,
    /// It fails and changes nothing.
    Failed,
    /// It is denied, and changes nothing.
    Denied,
    /// It is done, but its reply is lost.
    ReplyLost,
    /// It is done, its reply is lost, and the SDK tries again. The caller gets the answer to the
    /// second try.
    Retried,
}

/// Decides when and how requests are carried out.
pub trait Control: Send + Sync {
    /// Waits for the request's turn. By default, every request lets others go first once.
    fn turn(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(YieldOnce(false))
    }

    /// Decides the request's fate, when its turn has come.
    fn fate(&self, request: &Request<'_>) -> Fate;
}

/// A [`Control`] under which nothing ever fails.
#[derive(Debug, Clone, Copy)]
pub struct Calm;

impl Control for Calm {
    fn fate(&self, _request: &Request<'_>) -> Fate {
        Fate::Done
    }
}

/// A future that is ready when it is polled for the second time.
struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
