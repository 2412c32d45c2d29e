//! A connection that fails if its device doesn't read what it asked for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::connections::Connection;

/// How long a device may read nothing at all.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Each byte that it reads earns it this much more time, up to [`LONGEST_PAUSE`] in all: 1,000
/// bytes a second are enough.
const TIME_PER_BYTE: Duration = Duration::from_millis(1);

/// A stream on which writing fails if the other side reads more slowly than that.
#[derive(Debug)]
pub struct Paced<S> {
    stream: S,
    connection: Arc<Connection>,
    /// How long the device may still read nothing.
    left: Duration,
    /// When the device stopped reading, and the timer that ends the connection.
    blocked: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> Paced<S> {
    /// Wraps `stream`, the stream of `connection`.
    pub fn new(stream: S, connection: Arc<Connection>) -> Self {
        Self { stream, connection, left: LONGEST_PAUSE, blocked: None }
    }

    /// Accounts for the result of an attempt to write.
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = written else {
            if self.blocked.is_none() {
                self.connection.blocked(true);
            }
            let left = self.left;
            let (_, late) =
                self.blocked.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
            ready!(late.as_mut().poll(context));
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the device doesn't read what it asked for",
            )));
        };
        if let Some((since, _)) = self.blocked.take() {
            self.left = self.left.saturating_sub(since.elapsed());
            self.connection.blocked(false);
        }
        if let Ok(bytes) = &written {
            let earned = TIME_PER_BYTE.saturating_mul(u32::try_from(*bytes).unwrap_or(u32::MAX));
            self.left = LONGEST_PAUSE.min(self.left.saturating_add(earned));
        }
        Poll::Ready(written)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::super::connections::Connections;
    use super::*;

    async fn paced(room: usize) -> (Paced<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(room);
        (Paced::new(near, Arc::new(Connections::new(1).enter().await)), far)
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_reads_nothing_is_given_up() {
        let (mut near, far) = paced(10).await;
        let error = near.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_reads_a_little_now_and_then_is_given_up_too() {
        let (mut near, mut far) = paced(10).await;
        let reading = async {
            loop {
                tokio::time::sleep(Duration::from_secs(20)).await;
                if far.read(&mut [0; 10]).await.unwrap() == 0 {
                    return;
                }
            }
        };
        tokio::select! {
            written = near.write_all(&[0; 1000]) => assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut),
            () = reading => panic!("it is given up first"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_reads_slowly_but_steadily_gets_everything() {
        let (mut near, mut far) = paced(10_000).await;
        let reading = async {
            let mut taken = 0;
            while taken < 200_000 {
                tokio::time::sleep(Duration::from_secs(5)).await;
                taken += far.read(&mut vec![0; 10_000]).await.unwrap();
            }
        };
        let bytes = vec![0; 200_000];
        let (written, ()) = tokio::join!(near.write_all(&bytes), reading);
        written.unwrap();
    }
}
