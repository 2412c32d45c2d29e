//! Names fields of JSON, as messages show them.

use serde::{Deserialize, Deserializer};
use serde_path_to_error::{Path, Segment};

/// Reads JSON, the value of the field `at`. An error names the field within it that is invalid.
///
/// # Errors
/// One line that begins with the field.
pub(crate) fn named<'a, T: Deserialize<'a>>(
    json: impl Deserializer<'a, Error = serde_json::Error>,
    at: &str,
) -> Result<T, String> {
    serde_path_to_error::deserialize(json)
        .map_err(|error| format!("its {} is invalid: {}", place(at, error.path()), error.inner()))
}

/// The place of a field, such as `signatures.0.sig`, in the form that all messages use.
pub(crate) fn place(at: &str, path: &Path) -> String {
    path.iter().fold(at.to_owned(), |place, segment| match segment {
        Segment::Map { key } => join(&place, key),
        Segment::Seq { index } => join(&place, &index.to_string()),
        Segment::Enum { .. } | Segment::Unknown => place,
    })
}

pub(crate) fn join(place: &str, name: &str) -> String {
    let name = name.escape_debug();
    if place.is_empty() { name.to_string() } else { format!("{place}.{name}") }
}
