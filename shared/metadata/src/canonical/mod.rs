//! The canonical form, over which documents are signed (TUF specification 4.2), where all clients
//! write the same.
//!
//! The specification refers to a form (<https://wiki.laptop.org/go/Canonical_JSON>) that leaves
//! some points open, and clients differ in them. Each client reads a document into its own types
//! and writes the form of those. If a client writes another form than the signer, it finds no valid
//! signature, and its devices can't use the document. If the document is a root, these devices stay
//! at the previous root for ever.
//!
//! | what | `securesystemslib` 1 (python-tuf) | `@tufjs/canonical-json` 2 (tuf-js) | `go-securesystemslib` 0.11 (go-tuf) | `olpc-cjson` 0.1 (tough) | here |
//! |---|---|---|---|---|---|
//! | order of keys | code points | UTF-16 code units | bytes of UTF-8, which are in the order of code points | written bytes, including escapes and the closing quote | refused where one differs |
//! | strings that aren't in Unicode's form C | as they are | as they are | as they are | converted to form C, between escapes | refused |
//! | numbers with a fraction or an exponent, `-0` | refused, but for `-0`, which is `0` | as integers, if they are whole | refused in `custom`, elsewhere as integers; `-0` stays | refused | refused |
//! | integers | all | read as doubles | up to 64 bits with sign; outside `custom` read as doubles | up to 64 bits | refused where one differs |
//! | nesting | some 900 levels | thousands | 10,000 | 127, when it reads the file | refused above |
//! | control characters, U+2028, `<`, U+007F | as they are | as they are | as they are: it undoes the escapes of its JSON writer | as they are | as they are |
//! | `"` and `\` | with a backslash | with a backslash | with a backslash | with a backslash | with a backslash |
//! | keys that are empty, numbers, or `__proto__` | ordinary keys | ordinary keys: it copies objects member by member, and sorts them when it writes | ordinary keys | ordinary keys | ordinary keys |
//! | a key twice | the last counts | the last counts | the last counts | the last counts | the last counts |
//! | a lone surrogate | can't be encoded | replaced | replaced | not read | not read |
//!
//! In `olpc-cjson` the order is different because keys are compared with their quotes: `"a"` comes
//! after `"a b"` and `"a!"`, since a space and an exclamation mark sort before the quote, and
//! `"\""` comes after `"A"`.
//!
//! *Invariant*: if [`form()`] succeeds, every client in the table writes the same form.
//!
//! A document that others signed may be meant for one kind of client only. If [`form()`] fails for
//! it, its signatures may be over either of two other forms: [`plain_form`], that of the
//! specification and of python-tuf, or [`normal_form`], that of clients in Rust. The latter counts
//! only if all strings are already in form C, so that it keeps them unchanged. Otherwise an
//! attacker on the network could replace a string, for example the `K` of a key by U+212A, and the
//! signature would stay valid.

mod form;
mod keys;
mod objects;
mod stop;
mod unalike;
mod writer;

pub use form::{form, normal_form, plain_form};
pub use objects::{ObjectMember, OpenObject, OpenObjects};
pub use unalike::{DEEPEST_FILE, Unalike, Why};
