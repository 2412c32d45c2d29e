/* The C interface of tufline-device, a TUF client for devices. Made of device/c/src/lib.rs.
 *
 * Texts are UTF-8 and end in a zero byte. A pointer that is given must be one that this library gave and that wasn't freed, or a text. One device is used
 * by one thread at a time. Where a function answers a failure it gives nothing else; NULL is none. docs/devices.md says how to link it. */

#ifndef TUFLINE_DEVICE_H
#define TUFLINE_DEVICE_H

#include <stdint.h>

/*
 A device: its repository, and what it keeps. Freed by `tufline_close`.
 */
typedef struct TuflineDevice TuflineDevice;

/*
 Why something did not work. Freed by `tufline_failure_free`.
 */
typedef struct TuflineFailure TuflineFailure;

/*
 What is listed of a target. Freed by `tufline_target_free`.
 */
typedef struct TuflineTarget TuflineTarget;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Begins to trust the root in `root_file`, which came with the device, in the folder `metadata_dir`. Where it or a newer one is trusted already nothing
 changes, so a device may do this at each start.

 # Safety
 As above.
 */
struct TuflineFailure *tufline_init(const char *metadata_dir,
                                    const char *root_file);

/*
 Opens a device with the settings in a file (TOML; see docs/devices.md), and puts it into `device`.

 # Safety
 As above; `device` is a place for a pointer.
 */
struct TuflineFailure *tufline_open(const char *settings_file, struct TuflineDevice **device);

/*
 Reads the newest metadata. It does that once: open another device for the next update.

 # Safety
 As above.
 */
struct TuflineFailure *tufline_refresh(struct TuflineDevice *device);

/*
 Looks for a target by the newest metadata, and puts what is listed of it into `target`. That there is none is a failure of the kind
 `no-such-target`.

 # Safety
 As above; `target` is a place for a pointer.
 */
struct TuflineFailure *tufline_find(struct TuflineDevice *device,
                                    const char *name,
                                    struct TuflineTarget **target);

/*
 Puts a target's bytes into the file `to`, when they are verified, and in one step. What is there already isn't fetched; a fetch that was cut goes on.

 # Safety
 As above.
 */
struct TuflineFailure *tufline_fetch(struct TuflineDevice *device,
                                     const char *name,
                                     const char *to);

/*
 Closes a device. `NULL` is none.

 # Safety
 As above.
 */
void tufline_close(struct TuflineDevice *device);

/*
 A target's length in bytes; 0 of `NULL`.

 # Safety
 As above.
 */
uint64_t tufline_target_length(const struct TuflineTarget *target);

/*
 A target's digest, in hexadecimal: its SHA-256, if that is listed. It lives as long as the target.

 # Safety
 As above.
 */
const char *tufline_target_digest(const struct TuflineTarget *target);

/*
 A target's custom metadata, as JSON; `NULL` where it has none. It lives as long as the target.

 # Safety
 As above.
 */
const char *tufline_target_custom(const struct TuflineTarget *target);

/*
 Frees a target. `NULL` is none.

 # Safety
 As above.
 */
void tufline_target_free(struct TuflineTarget *target);

/*
 Why it did not work, in one line. It lives as long as the failure.

 # Safety
 As above.
 */
const char *tufline_failure_message(const struct TuflineFailure *failure);

/*
 What kind of failure it is: `refused`, `missing`, `network`, `identity`, `no-such-target`, `file` or `settings`. It lives as long as the failure.

 # Safety
 As above.
 */
const char *tufline_failure_kind(const struct TuflineFailure *failure);

/*
 Frees a failure. `NULL` is none.

 # Safety
 As above.
 */
void tufline_failure_free(struct TuflineFailure *failure);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TUFLINE_DEVICE_H */
