//! The one writer of JSON: compact, keys sorted, so that equal documents have equal bytes.

use serde::Serialize;

/// `value` as compact JSON with sorted keys.
///
/// Not the canonical form over which TUF signs: that one leaves control characters raw, and so isn't always JSON.
///
/// # Errors
/// Only for values that JSON cannot hold (a map whose keys aren't strings); none of Tufline's types is one.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut tree = serde_json::to_value(value)?;
    // Sorted already, unless some crate of the build turned on serde_json's `preserve_order`.
    tree.sort_all_objects();
    serde_json::to_vec(&tree)
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_are_sorted_and_nothing_is_spaced() {
        let value = serde_json::json!({"b": {"d": 1, "c": [1, 2]}, "a": "x\n"});
        assert_eq!(super::to_vec(&value).unwrap(), br#"{"a":"x\n","b":{"c":[1,2],"d":1}}"#);
    }
}
