//! How much a client takes.

/// How much a client takes at most, so that no server can fill its memory or keep it busy: reading a document takes up to 30 times its length, and it is
/// read before anybody knows whose it is. The defaults are those of python-tuf, but for the documents of targets, of which that takes 5,000,000 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A root, in bytes.
    pub root: usize,
    /// A timestamp, in bytes.
    pub timestamp: usize,
    /// A snapshot, in bytes; what the timestamp lists counts where it is less.
    pub snapshot: usize,
    /// A document of `targets` or of a role that it delegates to, in bytes; what the snapshot lists counts where it is less.
    pub targets: usize,
    /// So many new roots are read in one go (TUF specification 5.3.3). The next go reads on.
    pub roots: u32,
    /// So many roles are asked for one target (5.6.7.1).
    pub roles: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { root: 512_000, timestamp: 16_384, snapshot: 2_000_000, targets: 2_000_000, roots: 256, roles: 32 }
    }
}
