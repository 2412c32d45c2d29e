//! Runs of stages, side by side under one seeded scheduler, or one after another.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use rand::Rng;
use rand::rngs::StdRng;
use tufline_pipeline::{Ports, stages};
use tufline_store::memory::Memory;

use super::{finish, take_changes};

/// A run in progress. Its outcome shows in what it stored.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// While fewer runs than this are in progress, one more may start.
const FEW: usize = 8;

/// A world in which runs go on side by side, and clients look after every step.
pub trait Schedule {
    /// In how many of a hundred steps a run starts, if few are in progress. In one more of them a
    /// run is killed.
    const BEGINNINGS: u32;
    /// A run continues for fewer requests than this at a time.
    const MOST_REQUESTS: usize;

    fn parts(&mut self) -> (&mut StdRng, &mut Vec<Task>);

    /// Starts a run.
    fn any_run(&mut self) -> Task;

    /// Something else that may happen, in the remaining steps, counted from 0. Returns whether
    /// anything did.
    fn happens(&mut self, step: u32) -> bool;

    /// All clients look.
    fn look(&mut self);

    fn step(&mut self) {
        let begins = 0..Self::BEGINNINGS;
        let (random, tasks) = self.parts();
        let (dice, under_way) = (random.random_range(0..100_u32), tasks.len());
        if under_way == 0 || begins.contains(&dice) && under_way < FEW {
            let task = self.any_run();
            self.parts().1.push(task);
        } else if dice == begins.end {
            // Kill a run.
            let (random, tasks) = self.parts();
            drop(tasks.swap_remove(random.random_range(0..under_way)));
        } else if dice < begins.end || !self.happens(dice - begins.end - 1) {
            self.go_on(1..Self::MOST_REQUESTS);
        }
        self.look();
    }

    /// Continues one run for a while; the others pause.
    fn go_on(&mut self, requests: Range<usize>) {
        let (random, tasks) = self.parts();
        let place = random.random_range(0..tasks.len());
        for _ in 0..random.random_range(requests) {
            let (_, tasks) = self.parts();
            if poll(&mut tasks[place]) {
                drop(tasks.swap_remove(place));
                break;
            }
            self.look();
        }
    }
}

/// Continues a run to its next request. Returns whether it ended.
pub fn poll<F: Future + ?Sized>(task: &mut Pin<Box<F>>) -> bool {
    task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// A run of refresh.
pub fn refreshing(ports: &Ports) -> Task {
    let ports = ports.clone();
    Box::pin(async move { _ = stages::refresh(&ports).await })
}

/// A run of sign.
pub fn signing(ports: &Ports) -> Task {
    let ports = ports.clone();
    Box::pin(async move { _ = stages::sign(&ports).await })
}

/// A run of publish.
pub fn publishing(ports: &Ports) -> Task {
    let ports = ports.clone();
    Box::pin(async move { _ = stages::publish(&ports).await })
}

/// A run of rebuild, with the messages that wait. If it fails or is killed, refresh asks again.
pub fn rebuilding(ports: &Ports, memory: &Arc<Memory>) -> Task {
    let (ports, messages) = (ports.clone(), take_changes(memory));
    Box::pin(async move { _ = stages::rebuild(&ports, &messages).await })
}

/// Runs sign and then publish, which must both succeed.
pub fn sign_and_publish(ports: &Ports) {
    finish(stages::sign(ports)).unwrap();
    finish(stages::publish(ports)).unwrap();
}

/// Runs rebuild, sign and publish, one after another, on what waits for them.
pub fn rebuild_to_publish(ports: &Ports, memory: &Arc<Memory>) {
    finish(rebuilding(ports, memory));
    sign_and_publish(ports);
}
