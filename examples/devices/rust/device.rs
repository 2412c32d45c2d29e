//! A device with the library `tufline-device` (`cargo add tufline-device`): `device SETTINGS NAME
//! OUT`

use std::path::Path;
use std::process::ExitCode;

use tufline_device::{Device, Failure, Settings};

fn update(settings: &Path, name: &str, out: &Path) -> Result<(), Failure> {
    let mut device = Device::open(Settings::read(settings)?)?;
    let fetched = device.find_and_fetch(name, out, None)?;
    println!("{name} is in {}, verified: {} bytes came", out.display(), fetched.received);
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [settings, name, out] = &arguments[..] else {
        eprintln!("usage: device SETTINGS NAME OUT");
        return ExitCode::from(2);
    };
    match update(settings.as_ref(), name, out.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("device: {failure} ({})", failure.kind());
            ExitCode::FAILURE
        }
    }
}
