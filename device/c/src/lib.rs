//! The C interface of `tufline-device`: `include/tufline_device.h`, which is made of this file.
//!
//! Rules for callers, which stand in the header too: texts are UTF-8 and end in a zero byte; a pointer that is given must be one that this library gave
//! and that wasn't freed, or a text; one device is used by one thread at a time. Where a function answers a failure it gives nothing else; `NULL` is none.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::ptr;

use tufline_device::{Device, Failure, FoundTarget, Settings};

/// A device: its repository, and what it keeps. Freed by `tufline_close`.
#[derive(Debug)]
pub struct TuflineDevice(Device);

/// Why something did not work. Freed by `tufline_failure_free`.
#[derive(Debug)]
pub struct TuflineFailure {
    message: CString,
    kind: CString,
}

/// What is listed of a target. Freed by `tufline_target_free`.
#[derive(Debug)]
pub struct TuflineTarget {
    length: u64,
    digest: CString,
    custom: Option<CString>,
}

/// Begins to trust the root in `root_file`, which came with the device, in the folder `metadata_dir`. Where it or a newer one is trusted already nothing
/// changes, so a device may do this at each start.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_init(metadata_dir: *const c_char, root_file: *const c_char) -> *mut TuflineFailure {
    // SAFETY: the caller gives a text.
    let folder = unsafe { text(metadata_dir) };
    // SAFETY: the same.
    let root = unsafe { text(root_file) };
    done(|| Device::init(Path::new(folder?), Path::new(root?)).map(|_| ()))
}

/// Opens a device with the settings in a file (TOML; see docs/devices.md), and puts it into `device`.
///
/// # Safety
/// As above; `device` is a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_open(
    settings_file: *const c_char,
    device: *mut *mut TuflineDevice,
) -> *mut TuflineFailure {
    // SAFETY: the caller gives a text.
    let settings = unsafe { text(settings_file) };
    // SAFETY: the caller gives a place for a pointer.
    unsafe { give(device, || Ok(TuflineDevice(Device::open(Settings::read(Path::new(settings?))?)?))) }
}

/// Reads the newest metadata. It does that once: open another device for the next update.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_refresh(device: *mut TuflineDevice) -> *mut TuflineFailure {
    // SAFETY: the caller gives a device that is open, to one thread at a time.
    let device = unsafe { device.as_mut() };
    done(|| opened(device)?.refresh())
}

/// Looks for a target by the newest metadata, and puts what is listed of it into `target`. That there is none is a failure of the kind
/// `no-such-target`.
///
/// # Safety
/// As above; `target` is a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_find(
    device: *mut TuflineDevice,
    name: *const c_char,
    target: *mut *mut TuflineTarget,
) -> *mut TuflineFailure {
    // SAFETY: the caller gives a device that is open, to one thread at a time.
    let device = unsafe { device.as_mut() };
    // SAFETY: the caller gives a text.
    let name = unsafe { text(name) };
    let find = || {
        let name = name?;
        let found = opened(device)?.find(name)?;
        found.map(|found| TuflineTarget::new(&found)).ok_or_else(|| Failure::NoSuchTarget(name.to_owned()))
    };
    // SAFETY: the caller gives a place for a pointer.
    unsafe { give(target, find) }
}

/// Puts a target's bytes into the file `to`, when they are verified, and in one step. What is there already isn't fetched; a fetch that was cut goes on.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_fetch(
    device: *mut TuflineDevice,
    name: *const c_char,
    to: *const c_char,
) -> *mut TuflineFailure {
    // SAFETY: the caller gives a device that is open, to one thread at a time.
    let device = unsafe { device.as_mut() };
    // SAFETY: the caller gives a text.
    let name = unsafe { text(name) };
    // SAFETY: the same.
    let to = unsafe { text(to) };
    done(|| opened(device)?.find_and_fetch(name?, Path::new(to?), None).map(|_| ()))
}

/// Closes a device. `NULL` is none.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_close(device: *mut TuflineDevice) {
    // SAFETY: the caller gives what `tufline_open` gave, once.
    unsafe { free(device) }
}

/// A target's length in bytes; 0 of `NULL`.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_target_length(target: *const TuflineTarget) -> u64 {
    // SAFETY: the caller gives what `tufline_find` gave.
    unsafe { target.as_ref() }.map_or(0, |target| target.length)
}

/// A target's digest, in hexadecimal: its SHA-256, if that is listed. It lives as long as the target.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_target_digest(target: *const TuflineTarget) -> *const c_char {
    // SAFETY: the caller gives what `tufline_find` gave.
    unsafe { target.as_ref() }.map_or(ptr::null(), |target| target.digest.as_ptr())
}

/// A target's custom metadata, as JSON; `NULL` where it has none. It lives as long as the target.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_target_custom(target: *const TuflineTarget) -> *const c_char {
    // SAFETY: the caller gives what `tufline_find` gave.
    let custom = unsafe { target.as_ref() }.and_then(|target| target.custom.as_ref());
    custom.map_or(ptr::null(), |custom| custom.as_ptr())
}

/// Frees a target. `NULL` is none.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_target_free(target: *mut TuflineTarget) {
    // SAFETY: the caller gives what `tufline_find` gave, once.
    unsafe { free(target) }
}

/// Why it did not work, in one line. It lives as long as the failure.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_failure_message(failure: *const TuflineFailure) -> *const c_char {
    // SAFETY: the caller gives a failure.
    unsafe { failure.as_ref() }.map_or(ptr::null(), |failure| failure.message.as_ptr())
}

/// What kind of failure it is: `refused`, `missing`, `network`, `identity`, `no-such-target`, `file` or `settings`. It lives as long as the failure.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_failure_kind(failure: *const TuflineFailure) -> *const c_char {
    // SAFETY: the caller gives a failure.
    unsafe { failure.as_ref() }.map_or(ptr::null(), |failure| failure.kind.as_ptr())
}

/// Frees a failure. `NULL` is none.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_failure_free(failure: *mut TuflineFailure) {
    // SAFETY: the caller gives a failure, once.
    unsafe { free(failure) }
}

impl TuflineTarget {
    fn new(found: &FoundTarget) -> Self {
        Self {
            length: found.target.length,
            digest: c_text(&found.target.digest().unwrap_or_default()),
            custom: found.target.custom.as_deref().map(c_text),
        }
    }
}

fn done(act: impl FnOnce() -> Result<(), Failure>) -> *mut TuflineFailure {
    act().map_or_else(|failure| told(&failure), |()| ptr::null_mut())
}

/// Puts what `act` makes into `place`, or `NULL` with the failure.
///
/// # Safety
/// `place` is null, or may be written to.
unsafe fn give<T>(place: *mut *mut T, act: impl FnOnce() -> Result<T, Failure>) -> *mut TuflineFailure {
    if place.is_null() {
        return told(&Failure::Settings("there is no place to put it: a pointer is NULL".to_owned()));
    }
    let (made, failure) = match act() {
        Ok(made) => (Box::into_raw(Box::new(made)), ptr::null_mut()),
        Err(failure) => (ptr::null_mut(), told(&failure)),
    };
    // SAFETY: it isn't null, and so a place for a pointer.
    unsafe { place.write(made) };
    failure
}

/// Frees what `give` or `told` made.
///
/// # Safety
/// It is null, or was made by one of them and wasn't freed.
unsafe fn free<T>(made: *mut T) {
    if !made.is_null() {
        // SAFETY: a box was made into this pointer.
        drop(unsafe { Box::from_raw(made) });
    }
}

/// # Safety
/// It is null, or ends in a zero byte and isn't changed while it is used.
unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::Settings("a text is missing: a pointer is NULL".to_owned()));
    }
    // SAFETY: it isn't null, and so ends in a zero byte.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::Settings(format!("'{}' is not UTF-8", text.to_string_lossy())))
}

fn opened(device: Option<&mut TuflineDevice>) -> Result<&mut Device, Failure> {
    device
        .map(|device| &mut device.0)
        .ok_or_else(|| Failure::Settings("the device is not open: a pointer is NULL".to_owned()))
}

fn told(failure: &Failure) -> *mut TuflineFailure {
    Box::into_raw(Box::new(TuflineFailure { message: c_text(&failure.to_string()), kind: c_text(failure.kind()) }))
}

/// Without zero bytes, at which C would stop.
fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}
