//! The lines that the demo prints for each step.

use std::time::Duration;

use crate::terminal::say;
use crate::text;

/// Prints a step: its name, its result and its time.
pub fn tell_step(what: &str, result: &str, took: Duration) {
    say!("  {what:<10} {result:<58} {:>8}", text::took(took));
}

/// Prints a line without a step or a time.
pub fn tell_note(text: &str) {
    say!("  {:<10} {text}", "");
}
