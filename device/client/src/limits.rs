//! Limits on what a client reads.

/// The most that a client reads, so that no server can fill its memory or keep it busy. Reading a
/// document takes up to 30 times its length in memory, and the client must read it before it can
/// tell who signed it. The defaults are python-tuf's, except for documents of targets, for which
/// python-tuf allows 5,000,000 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest root, in bytes.
    pub root: usize,
    /// The longest timestamp, in bytes.
    pub timestamp: usize,
    /// The longest snapshot, in bytes. A smaller length in the timestamp takes precedence.
    pub snapshot: usize,
    /// The longest document of `targets` or of a delegated role, in bytes. A smaller length in the
    /// snapshot takes precedence.
    pub targets: usize,
    /// How many new roots one update reads (TUF specification 5.3.3). The next update continues.
    pub roots: u32,
    /// How many roles one search asks (TUF specification 5.6.7.1).
    pub roles: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            root: 512_000,
            timestamp: 16_384,
            snapshot: 2_000_000,
            targets: 2_000_000,
            roots: 256,
            roles: 32,
        }
    }
}
