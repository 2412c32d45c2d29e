//! The C interface of `tufline-device`. `include/tufline_device.h` is generated from this file.
//!
//! Rules for callers, which the header repeats:
//!
//! - Texts are UTF-8 and end in a zero byte.
//! - Callers pass only texts and pointers that this library returned and that they haven't freed.
//! - One thread at a time uses a device.
//! - A function that returns a failure returns nothing else. `NULL` means that there was no
//!   failure.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::ptr;

use tufline_device::{Device, Failure, FoundTarget, Settings};

/// A device: its repository and its stored metadata. Free it with `tufline_close`.
#[derive(Debug)]
pub struct TuflineDevice(Device);

/// Why a call failed. Free it with `tufline_failure_free`.
#[derive(Debug)]
pub struct TuflineFailure {
    message: CString,
    kind: CString,
}

/// A target as the repository's metadata lists it. Free it with `tufline_target_free`.
#[derive(Debug)]
pub struct TuflineTarget {
    length: u64,
    digest: CString,
    custom: Option<CString>,
}

/// Trusts the root in `root_file`, which came with the device, and stores it in the folder
/// `metadata_dir`. If the folder already has that root or a newer one, nothing changes. So a device
/// may call this at each start.
///
/// # Safety
/// Follow the rules at the top of this file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_init(
    metadata_dir: *const c_char,
    root_file: *const c_char,
) -> *mut TuflineFailure {
    // SAFETY: the caller gives a text.
    let folder = unsafe { text(metadata_dir) };
    // SAFETY: the same.
    let root = unsafe { text(root_file) };
    done(|| Device::init(Path::new(folder?), Path::new(root?)).map(|_| ()))
}

/// Opens a device with the settings in a file (TOML; see docs/devices.md), and writes the device to
/// `device`.
///
/// # Safety
/// Follow the rules at the top of this file; `device` points to a writable pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_open(
    settings_file: *const c_char,
    device: *mut *mut TuflineDevice,
) -> *mut TuflineFailure {
    // SAFETY: the caller gives a text.
    let settings = unsafe { text(settings_file) };
    // SAFETY: the caller gives a place for a pointer.
    unsafe {
        give(device, || Ok(TuflineDevice(Device::open(Settings::read(Path::new(settings?))?)?)))
    }
}

/// Reads the newest metadata, once per device: for the next update, open another device.
///
/// # Safety
/// Follow the rules at the top of this file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_refresh(device: *mut TuflineDevice) -> *mut TuflineFailure {
    // SAFETY: the caller gives a device that is open, to one thread at a time.
    let device = unsafe { device.as_mut() };
    done(|| opened(device)?.refresh())
}

/// Looks for a target in the newest metadata, and writes it to `target`. If the repository has no
/// such target, the failure has the kind `no-such-target`.
///
/// # Safety
/// Follow the rules at the top of this file; `target` points to a writable pointer.
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
        found
            .map(|found| TuflineTarget::new(&found))
            .ok_or_else(|| Failure::NoSuchTarget(name.to_owned()))
    };
    // SAFETY: the caller gives a place for a pointer.
    unsafe { give(target, find) }
}

/// Fetches a target into the file `to`. The file appears in one step, when its bytes are verified.
/// If `to` already has these bytes, nothing is fetched. An interrupted fetch continues where it
/// stopped.
///
/// # Safety
/// Follow the rules at the top of this file.
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

/// Closes a device. `NULL` is allowed.
///
/// # Safety
/// Follow the rules at the top of this file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_close(device: *mut TuflineDevice) {
    // SAFETY: the caller gives what `tufline_open` gave, once.
    unsafe { free(device) }
}

/// A target's length in bytes; 0 if `target` is `NULL`.
///
/// # Safety
/// Follow the rules at the top of this file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_target_length(target: *const TuflineTarget) -> u64 {
    // SAFETY: the caller gives what `tufline_find` gave.
    unsafe { target.as_ref() }.map_or(0, |target| target.length)
}

/// A target's digest in hexadecimal: its SHA-256 if the metadata lists one. The text lives as long
/// as the target.
///
/// # Safety
/// Follow the rules at the top of this file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_target_digest(target: *const TuflineTarget) -> *const c_char {
    // SAFETY: the caller gives what `tufline_find` gave.
    unsafe { target.as_ref() }.map_or(ptr::null(), |target| target.digest.as_ptr())
}

/// A target's custom metadata as JSON; `NULL` if it has none. The text lives as long as the target.
///
/// # Safety
/// Follow the rules at the top of this file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_target_custom(target: *const TuflineTarget) -> *const c_char {
    // SAFETY: the caller gives what `tufline_find` gave.
    let custom = unsafe { target.as_ref() }.and_then(|target| target.custom.as_ref());
    custom.map_or(ptr::null(), |custom| custom.as_ptr())
}

/// Frees a target. `NULL` is allowed.
///
/// # Safety
/// Follow the rules at the top of this file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_target_free(target: *mut TuflineTarget) {
    // SAFETY: the caller gives what `tufline_find` gave, once.
    unsafe { free(target) }
}

/// Why the call failed, in one line. The text lives as long as the failure.
///
/// # Safety
/// Follow the rules at the top of this file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_failure_message(failure: *const TuflineFailure) -> *const c_char {
    // SAFETY: the caller gives a failure.
    unsafe { failure.as_ref() }.map_or(ptr::null(), |failure| failure.message.as_ptr())
}

/// The kind of failure: `refused`, `missing`, `network`, `budget`, `identity`, `no-such-target`,
/// `file` or `settings`. The text lives as long as the failure.
///
/// # Safety
/// Follow the rules at the top of this file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tufline_failure_kind(failure: *const TuflineFailure) -> *const c_char {
    // SAFETY: the caller gives a failure.
    unsafe { failure.as_ref() }.map_or(ptr::null(), |failure| failure.kind.as_ptr())
}

/// Frees a failure. `NULL` is allowed.
///
/// # Safety
/// Follow the rules at the top of this file.
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

/// Writes the result of `act` to `place`. On a failure, writes `NULL` and returns the failure.
///
/// # Safety
/// `place` is null or points to a writable pointer.
unsafe fn give<T>(
    place: *mut *mut T,
    act: impl FnOnce() -> Result<T, Failure>,
) -> *mut TuflineFailure {
    if place.is_null() {
        return told(&Failure::Settings(
            "the result has no place: the pointer for it is NULL".to_owned(),
        ));
    }
    let (made, failure) = match act() {
        Ok(made) => (Box::into_raw(Box::new(made)), ptr::null_mut()),
        Err(failure) => (ptr::null_mut(), told(&failure)),
    };
    // SAFETY: the pointer isn't null, so it is writable.
    unsafe { place.write(made) };
    failure
}

/// Frees a value that `give` or `told` made.
///
/// # Safety
/// `made` is null, or one of them made it and nobody has freed it.
unsafe fn free<T>(made: *mut T) {
    if !made.is_null() {
        // SAFETY: the pointer came from a box.
        drop(unsafe { Box::from_raw(made) });
    }
}

/// # Safety
/// `text` is null, or ends in a zero byte and doesn't change while it is in use.
unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::Settings("a text is missing: its pointer is NULL".to_owned()));
    }
    // SAFETY: the pointer isn't null, so the text ends in a zero byte.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str()
        .map_err(|_| Failure::Settings(format!("'{}' is not UTF-8", text.to_string_lossy())))
}

fn opened(device: Option<&mut TuflineDevice>) -> Result<&mut Device, Failure> {
    device
        .map(|device| &mut device.0)
        .ok_or_else(|| Failure::Settings("the device is not open: its pointer is NULL".to_owned()))
}

fn told(failure: &Failure) -> *mut TuflineFailure {
    Box::into_raw(Box::new(TuflineFailure {
        message: c_text(&failure.to_string()),
        kind: c_text(failure.kind()),
    }))
}

/// Replaces zero bytes, at which C would stop.
fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}
