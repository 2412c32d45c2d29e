//! What the demo says of each step.

use std::time::Duration;

use crate::terminal::say;
use crate::text;

/// A line of the demo: what, with what result, in which time.
pub fn tell_step(what: &str, result: &str, took: Duration) {
    say!("  {what:<10} {result:<58} {:>8}", text::took(took));
}

/// A line of the demo that has no time.
pub fn tell_note(text: &str) {
    say!("  {:<10} {text}", "");
}
