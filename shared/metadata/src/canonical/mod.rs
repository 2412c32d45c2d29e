//! The canonical form, over which signatures go (TUF specification 4.2), where all clients write the same.
//!
//! The specification names a form (<https://wiki.laptop.org/go/Canonical_JSON>) that leaves open what these clients do differently. Each reads a
//! document into its own types and writes the form of those, so a document that one of them writes in another way has no good
//! signature there, and all that it says is lost to those devices: a root that is one leaves them at the root before for ever.
//!
//! | what | `securesystemslib` 1 (python-tuf) | `@tufjs/canonical-json` 2 (tuf-js) | `go-securesystemslib` 0.11 (go-tuf) | `olpc-cjson` 0.1 (tough) | here |
//! |---|---|---|---|---|---|
//! | order of keys | code points | UTF-16 code units | bytes of UTF-8, which are in the order of code points | bytes as they are written: with escapes and the closing quote | refused where one differs |
//! | strings that aren't in Unicode's form C | as they are | as they are | as they are | made so, between escapes | refused |
//! | numbers with a fraction or an exponent, `-0` | refused, but for `-0`, which is `0` | as integers, where they are | refused in `custom`, elsewhere as integers; `-0` stays | refused | refused |
//! | integers | all | read as doubles | up to 64 bits with sign; outside `custom` read as doubles | up to 64 bits | refused where one differs |
//! | nesting | some 900 levels | thousands | 10,000 | 127, when it reads the file | refused above |
//! | control characters, U+2028, `<`, U+007F | as they are | as they are | as they are: what its JSON writer escapes is read back before | as they are | as they are |
//! | `"` and `\` | with a backslash | with a backslash | with a backslash | with a backslash | with a backslash |
//! | keys that are empty, numbers, or `__proto__` | keys | keys: its objects are copied member by member, and sorted when written | keys | keys | keys |
//! | a key twice | the last counts | the last counts | the last counts | the last counts | the last counts |
//! | a lone surrogate | can't be encoded | replaced | replaced | not read | not read |
//!
//! The quotes are what makes the order of `olpc-cjson` another: `"a"` comes after `"a b"` and `"a!"` there, since a space and an exclamation
//! mark come before the quote, and `"\""` after `"A"`.
//!
//! *Invariant*: what [`form`] writes, all of these write.
//!
//! What others have signed is read by its own clients, which may be of one kind. So where there is no such form it is verified over both that
//! there may be: [`plain_form`], the specification's and python-tuf's, and [`normal_form`], that of clients in Rust; the latter only where it keeps the texts
//! as they are, in form C. Else somebody on the way could put another text in place of one, such as U+212A for the `K` of a key, and the signature
//! would stay good.

mod form;
mod keys;
mod objects;
mod stop;
mod unalike;
mod writer;

pub use form::{form, normal_form, plain_form};
pub use objects::{ObjectMember, OpenObject, OpenObjects};
pub use unalike::{DEEPEST_FILE, Unalike, Why};
