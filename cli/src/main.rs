//! `tufline`, the command line for build systems, operators and root holders. It also runs a whole
//! repository in a folder (`tufline local`).
//!
//! Each command is a module of its own. *Invariant*: no command decides what is published; the
//! stages do (`tufline-pipeline`). What a command says about published targets, it has verified as
//! a device would.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
// All output goes through `terminal`, which escapes everything that a terminal doesn't show as it
// is.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod access;
mod ceremony;
mod commands;
mod embedded;
mod exit;
mod failure;
mod files;
mod health;
mod process;
mod repository;
mod server;
mod source;
mod terminal;
mod text;
mod uploading;
mod waiting;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{
    accept_removals, chunk, delegation, demo, doctor, import, init, key, local, mirror, reconcile,
    root, serve, status, targets, upload, wait,
};
use crate::exit::Exit;
use crate::failure::{advice, one_line};
use crate::terminal::complain;

/// Runs and operates a TUF repository that publishes the files that build systems drop.
#[derive(Debug, Parser)]
#[command(name = "tufline", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Local(local::Arguments),
    Demo(demo::Arguments),
    Upload(upload::Arguments),
    Wait(wait::Arguments),
    Status(status::Arguments),
    Doctor(doctor::Arguments),
    Reconcile(reconcile::Arguments),
    AcceptRemovals(accept_removals::Arguments),
    Chunk(chunk::Arguments),
    Mirror(mirror::Arguments),
    Serve(serve::Arguments),
    Import(import::Arguments),
    Init(init::Arguments),
    Root(root::Arguments),
    Key(key::Arguments),
    Delegation(delegation::Arguments),
    Targets(targets::Arguments),
}

fn main() -> ExitCode {
    let Arguments { command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return print_usage(&error),
    };
    let is_done = tell_done(&command);
    let _log = process::log(match command {
        Command::Local(_) | Command::Serve(_) => "warn,tufline=info,tufline_pipeline=error",
        Command::Demo(_) => "off",
        _ => "error",
    });
    let result = process::run(async {
        let ended = match command {
            Command::Local(arguments) => local::run(arguments).await,
            Command::Demo(arguments) => demo::run(arguments).await,
            Command::Upload(arguments) => upload::run(arguments).await,
            Command::Wait(arguments) => wait::run(arguments).await,
            Command::Status(arguments) => status::run(arguments).await,
            Command::Doctor(arguments) => doctor::run(arguments).await,
            Command::Reconcile(arguments) => reconcile::run(arguments).await,
            Command::AcceptRemovals(arguments) => accept_removals::run(arguments).await,
            Command::Chunk(arguments) => chunk::run(arguments).await,
            Command::Mirror(arguments) => mirror::run(arguments).await,
            Command::Serve(arguments) => serve::run(arguments).await,
            Command::Import(arguments) => import::run(arguments).await,
            Command::Init(arguments) => init::run(arguments).await,
            Command::Root(arguments) => root::run(arguments).await,
            Command::Key(arguments) => key::run(arguments).await,
            Command::Delegation(arguments) => delegation::run(arguments).await,
            Command::Targets(arguments) => targets::run(arguments).await,
        };
        let advice = match &ended {
            Ok(_) => None,
            Err(error) => advice(&**error).await,
        };
        Ok(ended.map_err(|error| (advice, error)))
    });
    match result.unwrap_or_else(|error| Err((None, error))) {
        Ok(exit) => match (terminal::lost(), is_done) {
            (Some(why), Some(is_done)) => {
                complain!("tufline: the answer could not be written: {why}; {is_done}");
                // Another exit code says more than a failure to write.
                if exit == Exit::Done { ExitCode::FAILURE } else { exit.into() }
            }
            _ => exit.into(),
        },
        Err((advice, error)) => {
            let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
            complain!("tufline: {}{advice}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// Prints the help, or what is wrong with the arguments.
fn print_usage(error: &clap::Error) -> ExitCode {
    match terminal::print_usage(error) {
        Ok(()) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
        Err(why) => {
            complain!("tufline: the answer could not be written: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What to tell the user if a command's answer could not be written: whether its work is done.
/// `None` for a command that stays up, whose work is not its answer.
fn tell_done(command: &Command) -> Option<&'static str> {
    Some(match command {
        Command::Local(_) | Command::Serve(_) => return None,
        Command::Upload(_) => "the upload is done: `tufline wait NAME` says what becomes of it",
        Command::Status(_) | Command::Doctor(_) | Command::Wait(_) | Command::Demo(_) => {
            "nothing else went wrong: run it again"
        }
        _ => "the command has done its work all the same: check its effect before you run it again",
    })
}
