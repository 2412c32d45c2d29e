//! Runs another program and reads its output: the one that provides the device's token.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::patience::now;

/// How often the device checks whether a program has ended that has closed its output.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs a program and returns its output. The error says why there is none: the program failed, ran
/// longer than `longest`, or wrote more than `most` bytes. Its stderr is discarded, since it may
/// contain secrets.
pub fn output(command: &[String], longest: Duration, most: u64) -> Result<Vec<u8>, String> {
    let [program, arguments @ ..] = command else { return Err("no program is named".to_owned()) };
    let until = now() + longest;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{program} can't be run: {error}"))?;
    let came = written(&mut child, until, most);
    let ended = came.and_then(|bytes| end(&mut child, until).map(|()| bytes));
    if ended.is_err() {
        // The program may have ended already.
        _ = child.kill();
        _ = child.wait();
    }
    ended.map_err(|why| format!("{program} {why}"))
}

/// Reads the output in a thread of its own: a child of the program may keep the output open after
/// the program's end.
fn written(child: &mut Child, until: Instant, most: u64) -> Result<Vec<u8>, String> {
    let Some(mut output) = child.stdout.take().map(|output| output.take(most + 1)) else {
        return Ok(Vec::new());
    };
    let (sender, receiver) = mpsc::sync_channel::<io::Result<Vec<u8>>>(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        _ = sender.send(output.read_to_end(&mut bytes).map(|_| bytes));
    });
    match receiver.recv_timeout(until.saturating_duration_since(now())) {
        Ok(Ok(bytes)) if bytes.len() as u64 > most => Err(format!("writes more than {most} bytes")),
        Ok(read) => read.map_err(|error| format!("can't be read from: {error}")),
        Err(_) => Err(too_long()),
    }
}

fn end(child: &mut Child, until: Instant) -> Result<(), String> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => {
                return Err(format!("ended with {status}; run it by hand to see why"));
            }
            Ok(None) if now() >= until => return Err(too_long()),
            Ok(None) => thread::sleep(PAUSE),
            Err(error) => return Err(format!("can't be waited for: {error}")),
        }
    }
}

fn too_long() -> String {
    "takes too long and was stopped".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Result<String, String> {
        let command = ["sh", "-c", text].map(str::to_owned);
        output(&command, Duration::from_millis(500), 10)
            .map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn only_standard_output_is_returned() {
        assert_eq!(shell("echo one; echo two >&2").as_deref(), Ok("one\n"));
        assert_eq!(shell("printf 0123456789").as_deref(), Ok("0123456789"));
    }

    #[test]
    fn a_failure_is_one_line_without_the_output() {
        for (text, why) in [
            (
                "echo secret; echo secret >&2; exit 3",
                "sh ended with exit status: 3; run it by hand to see why",
            ),
            ("printf 0123456789a", "sh writes more than 10 bytes"),
            ("yes", "sh writes more than 10 bytes"),
            ("exec sleep 60", "sh takes too long and was stopped"),
            ("exec >&-; exec sleep 60", "sh takes too long and was stopped"),
            ("sleep 2 & exit 0", "sh takes too long and was stopped"),
        ] {
            assert_eq!(shell(text).unwrap_err(), why, "{text}");
        }
        let nothing =
            output(&["/nonexistent/get-token".to_owned()], Duration::from_secs(1), 10).unwrap_err();
        assert!(
            nothing.starts_with("/nonexistent/get-token can't be run: No such file"),
            "{nothing}"
        );
        assert_eq!(output(&[], Duration::from_secs(1), 10).unwrap_err(), "no program is named");
    }
}
