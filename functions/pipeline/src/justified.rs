//! What the uploads say of a content that a name is to have.

/// For so long something may still be shown that is no longer in effect, in seconds. It takes a while from the look at an upload to
/// the signatures, and a name that is overwritten all the time must be published all the same.
pub const WINDOW_SECONDS: i64 = 600;

/// What the uploads say of a content that is to be shown under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Justified {
    /// It is in effect.
    Yes,
    /// It was in effect within the window: it may be shown, and the name is looked at again, or it would stay so.
    Lately,
    /// It was not in effect within the window, or nobody can tell any more: the generation is passed over, and the name looked at
    /// again.
    NotNow,
    /// A version that should be it has other bytes than its receipt says.
    Otherwise,
}
