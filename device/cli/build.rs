//! Records the time of the build in the program; no device can run the program before that time.
//! The time is `SOURCE_DATE_EPOCH` (<https://reproducible-builds.org/specs/source-date-epoch/>) if
//! that is set, else the current time.

#[expect(clippy::disallowed_methods, reason = "a build happens at a time, in an environment")]
fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let now = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    };
    println!("cargo:rustc-env=TUFLINE_BUILT={}", given.unwrap_or_else(now));
}
