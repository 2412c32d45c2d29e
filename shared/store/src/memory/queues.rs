//! The queues in memory. The test that drives the stages takes messages in any order.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use tufline_tuf::time;

use super::world::{Memory, QueuedMessage};
use crate::error::{ErrorKind, StoreError};
use crate::message::{Letter, Message, Queue};
use crate::port::{Queues, Result, Waiting};

/// How long a dead letter stays hidden after it was read.
const HIDDEN_SECONDS: u64 = 60;

impl Memory {
    /// Puts any body into a queue, as anybody with access to it might.
    pub fn send_raw(&self, queue: Queue, body: &str) {
        let mut state = self.state();
        let id = state.next();
        let due = state.now;
        state.queues.entry(queue).or_default().push_back(QueuedMessage {
            body: body.to_owned(),
            receives: 0,
            due,
            id,
        });
    }

    /// How many messages a queue holds.
    #[must_use]
    pub fn queued(&self, queue: Queue) -> usize {
        self.state().queues.get(&queue).map_or(0, VecDeque::len)
    }

    /// The place of the first message in a queue that may be delivered now.
    #[must_use]
    pub fn first_due(&self, queue: Queue) -> Option<usize> {
        let state = self.state();
        state.queues.get(&queue)?.iter().position(|message| message.due <= state.now)
    }

    /// Takes the message at `index` out of a queue, to handle it.
    pub fn take(&self, queue: Queue, index: usize) -> Option<QueuedMessage> {
        let mut message = self.state().queues.get_mut(&queue)?.remove(index)?;
        message.receives += 1;
        Some(message)
    }

    /// Puts a message back that was not handled. In a FIFO queue it goes to the front. After
    /// `limit` receives, it becomes a dead letter.
    pub fn put_back(&self, queue: Queue, message: QueuedMessage, limit: u32) {
        let mut state = self.state();
        if message.receives >= limit {
            state.dead_letters.entry(queue).or_default().push_back(message);
        } else if queue.is_fifo() {
            state.queues.entry(queue).or_default().push_front(message);
        } else {
            state.queues.entry(queue).or_default().push_back(message);
        }
    }

    /// The bodies of a queue's dead letters.
    #[must_use]
    pub fn dead_bodies(&self, queue: Queue) -> Vec<String> {
        let state = self.state();
        let letters = state.dead_letters.get(&queue).into_iter().flatten();
        letters.map(|message| message.body.clone()).collect()
    }
}

#[async_trait]
impl Queues for Memory {
    async fn send(&self, message: &Message, delay: Duration) -> Result<()> {
        let queue = message.queue();
        let delay = if queue.is_fifo() { 0 } else { delay.as_secs() };
        let body = message.to_body();
        let body = body.map_err(|error| {
            StoreError::from_source(ErrorKind::Invalid, "send to", queue.name(), error)
        })?;
        self.request("send to", queue.name(), true, |state| {
            let id = state.next();
            let due = time::after(state.now, delay);
            let message = QueuedMessage { body: body.clone(), receives: 0, due, id };
            state.queues.entry(queue).or_default().push_back(message);
        })
        .await
    }

    async fn dead_letters(&self, queue: Queue, limit: usize) -> Result<Vec<Letter>> {
        self.request("receive from", queue.name(), false, |state| {
            let (now, hidden) = (state.now, time::after(state.now, HIDDEN_SECONDS));
            let letters = state.dead_letters.get_mut(&queue).into_iter().flatten();
            let letters = letters.filter(|message| message.due <= now).take(limit);
            letters
                .map(|message| {
                    message.due = hidden;
                    Letter { body: message.body.clone(), receipt: message.id.to_string() }
                })
                .collect()
        })
        .await
    }

    async fn redrive(&self, queue: Queue, letter: &Letter) -> Result<()> {
        self.request("send to", queue.name(), true, |state| {
            let id = state.next();
            let message =
                QueuedMessage { body: letter.body.clone(), receives: 0, due: state.now, id };
            state.queues.entry(queue).or_default().push_back(message);
        })
        .await?;
        self.request("delete from", queue.name(), true, |state| {
            let letters = state.dead_letters.entry(queue).or_default();
            letters.retain(|message| message.id.to_string() != letter.receipt);
        })
        .await
    }

    async fn waiting(&self, queue: Queue) -> Result<Waiting> {
        self.request("look at", queue.name(), false, |state| Waiting {
            messages: state.queues.get(&queue).map_or(0, |messages| messages.len() as u64),
            dead_letters: state
                .dead_letters
                .get(&queue)
                .map_or(0, |messages| messages.len() as u64),
        })
        .await
    }
}
