//! What the uploads say about the content that a name is about to get.

/// How long publish may still show a content that is no longer in effect, in seconds. Signing takes
/// a while after the look at an upload, and a name that is overwritten all the time must be
/// published all the same.
pub const WINDOW_SECONDS: i64 = 600;

/// What the uploads say about a content that is to be shown under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Justified {
    /// The content is in effect.
    Yes,
    /// The content was in effect within the window. It may be shown, but somebody must look at the
    /// name again: nothing else would replace the content.
    Lately,
    /// The content was not in effect within the window, or nobody can tell any more. The generation
    /// is passed over, and hash looks at the name again.
    NotNow,
    /// A version that should have this content has other bytes than its receipt says.
    Otherwise,
}
