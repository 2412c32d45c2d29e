/* The C interface of tufline-device, a TUF client for devices. Generated from device/c/src/lib.rs.
 *
 * Rules for callers:
 *
 * - Texts are UTF-8 and end in a zero byte.
 * - Pass only texts and pointers that this library returned and that you haven't freed.
 * - Use one device from one thread at a time.
 * - A function that returns a failure returns nothing else. NULL means that there was no failure.
 *
 * docs/devices.md says how to link this library. */

#ifndef TUFLINE_DEVICE_H
#define TUFLINE_DEVICE_H

#include <stdint.h>

/*
 A device: its repository and its stored metadata. Free it with `tufline_close`.
 */
typedef struct TuflineDevice TuflineDevice;

/*
 Why a call failed. Free it with `tufline_failure_free`.
 */
typedef struct TuflineFailure TuflineFailure;

/*
 A target as the repository's metadata lists it. Free it with `tufline_target_free`.
 */
typedef struct TuflineTarget TuflineTarget;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Trusts the root in `root_file`, which came with the device, and stores it in the folder
 `metadata_dir`. If the folder already has that root or a newer one, nothing changes. So a device
 may call this at each start.

 # Safety
 Follow the rules at the top of this file.
 */
struct TuflineFailure *tufline_init(const char *metadata_dir, const char *root_file);

/*
 Opens a device with the settings in a file (TOML; see docs/devices.md), and writes the device to
 `device`.

 # Safety
 Follow the rules at the top of this file; `device` points to a writable pointer.
 */
struct TuflineFailure *tufline_open(const char *settings_file, struct TuflineDevice **device);

/*
 Reads the newest metadata, once per device: for the next update, open another device.

 # Safety
 Follow the rules at the top of this file.
 */
struct TuflineFailure *tufline_refresh(struct TuflineDevice *device);

/*
 Looks for a target in the newest metadata, and writes it to `target`. If the repository has no
 such target, the failure has the kind `no-such-target`.

 # Safety
 Follow the rules at the top of this file; `target` points to a writable pointer.
 */
struct TuflineFailure *tufline_find(struct TuflineDevice *device,
                                    const char *name,
                                    struct TuflineTarget **target);

/*
 Fetches a target into the file `to`. The file appears in one step, when its bytes are verified.
 If `to` already has these bytes, nothing is fetched. An interrupted fetch continues where it
 stopped.

 # Safety
 Follow the rules at the top of this file.
 */
struct TuflineFailure *tufline_fetch(struct TuflineDevice *device,
                                     const char *name,
                                     const char *to);

/*
 Closes a device. `NULL` is allowed.

 # Safety
 Follow the rules at the top of this file.
 */
void tufline_close(struct TuflineDevice *device);

/*
 A target's length in bytes; 0 if `target` is `NULL`.

 # Safety
 Follow the rules at the top of this file.
 */
uint64_t tufline_target_length(const struct TuflineTarget *target);

/*
 A target's digest in hexadecimal: its SHA-256 if the metadata lists one. The text lives as long
 as the target.

 # Safety
 Follow the rules at the top of this file.
 */
const char *tufline_target_digest(const struct TuflineTarget *target);

/*
 A target's custom metadata as JSON; `NULL` if it has none. The text lives as long as the target.

 # Safety
 Follow the rules at the top of this file.
 */
const char *tufline_target_custom(const struct TuflineTarget *target);

/*
 Frees a target. `NULL` is allowed.

 # Safety
 Follow the rules at the top of this file.
 */
void tufline_target_free(struct TuflineTarget *target);

/*
 Why the call failed, in one line. The text lives as long as the failure.

 # Safety
 Follow the rules at the top of this file.
 */
const char *tufline_failure_message(const struct TuflineFailure *failure);

/*
 The kind of failure: `refused`, `missing`, `network`, `budget`, `identity`, `no-such-target`,
 `file` or `settings`. The text lives as long as the failure.

 # Safety
 Follow the rules at the top of this file.
 */
const char *tufline_failure_kind(const struct TuflineFailure *failure);

/*
 Frees a failure. `NULL` is allowed.

 # Safety
 Follow the rules at the top of this file.
 */
void tufline_failure_free(struct TuflineFailure *failure);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TUFLINE_DEVICE_H */
