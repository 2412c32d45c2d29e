//! What the commands for people's signatures share: the files that people sign and the keys with
//! which they sign. `tufline root`, `key`, `delegation`, `targets` and `import` use it.

mod expiry;
mod passphrase;
mod public_keys;
pub mod role_file;
pub mod root_document;
mod signing_key;

pub use expiry::parse_expiry;
pub use passphrase::PassphraseArguments;
pub use public_keys::{KeyArguments, read_single};
pub use role_file::RoleFile;
pub use root_document::{
    PreviousRoot, RootDocument, RootDocumentArguments, beside, create, expect_absent, open,
    open_published, write,
};
pub use signing_key::SigningKeyArguments;
