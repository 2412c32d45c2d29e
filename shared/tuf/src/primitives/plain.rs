//! Text that a terminal shows as it is. What comes from a file may hold sequences that hide or move what else stands on the screen, and
//! people sign what they see.

use std::fmt::Write;

use serde_json::Value;

/// Whether a terminal shows the character, where it stands, and moves nothing else by it.
///
/// Not so: controls (C0, DEL, C1), line and paragraph separators, what turns the direction of writing (UAX #9, section 2), whatever else has no width or
/// no shape of its own (`Default_Ignorable_Code_Point` of the Unicode standard, section 5.21), and what is not assigned.
#[must_use]
pub fn is_plain(character: char) -> bool {
    match character {
        ' '..='~' => true,
        // Letters and marks by their kind, but without a shape: fillers, joiners, selectors of variants.
        '\u{34f}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        // What the standard library prints as it is: it escapes controls, formats, separators, private and unassigned ones.
        // Combining marks are escaped only at the beginning of a text.
        _ => format!("a{character}").escape_debug().eq(['a', character]),
    }
}

/// `text` as a terminal may show it, in one line: whatever is not plain as `\u{…}`, a line's end as `\n`, and a backslash twice, so that nobody
/// takes the one for the other.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => shown.push_str("\\\\"),
            '\n' | '\r' | '\t' => shown.extend(character.escape_default()),
            _ if is_plain(character) => shown.push(character),
            // Writing to a string doesn't fail.
            _ => _ = write!(shown, "{}", character.escape_unicode()),
        }
    }
    shown
}

/// The first text of a document in which something can hide, a field's name or a value: where it stands, and the character that is not plain.
/// Lines of a public key in PEM hide nothing.
#[must_use]
pub fn find_hidden(document: &Value) -> Option<(String, char)> {
    find("", document)
}

fn find(path: &str, value: &Value) -> Option<(String, char)> {
    let in_text = |place: &str, text: &str, is_pem: bool| {
        let hidden = text.chars().find(|character| !(is_plain(*character) || is_pem && *character == '\n'))?;
        Some((place.to_owned(), hidden))
    };
    match value {
        Value::String(text) => in_text(path, text, path.ends_with(".keyval.public")),
        Value::Array(items) => items.iter().find_map(|item| find(path, item)),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let (place, inside) =
                if path.is_empty() { ("the name of a field", name.clone()) } else { (path, format!("{path}.{name}")) };
            in_text(place, name, false).or_else(|| find(&inside, value))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_hides_or_moves_is_shown_as_what_it_is() {
        for (text, shown) in [
            ("alice", "alice"),
            ("Zoë Müller, 山田 太郎 – \"π\"", "Zoë Müller, 山田 太郎 – \"π\""),
            ("राजेश", "राजेश"),
            ("a\u{1b}[2K\u{1b}[1Ab", "a\\u{1b}[2K\\u{1b}[1Ab"),
            ("a\u{9b}31mb\u{7f}", "a\\u{9b}31mb\\u{7f}"),
            ("a\r\n\tb\u{85}", "a\\r\\n\\tb\\u{85}"),
            ("a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"),
            ("a\u{202e}b\u{2066}c\u{200f}\u{61c}", "a\\u{202e}b\\u{2066}c\\u{200f}\\u{61c}"),
            ("a\u{200b}\u{200d}\u{feff}\u{ad}\u{2060}", "a\\u{200b}\\u{200d}\\u{feff}\\u{ad}\\u{2060}"),
            ("a\u{fe0f}\u{e0101}\u{e0041}\u{3164}\u{2800}", "a\\u{fe0f}\\u{e0101}\\u{e0041}\\u{3164}\\u{2800}"),
            ("C:\\u{1b}", "C:\\\\u{1b}"),
        ] {
            assert_eq!(escaped(text), shown);
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_plain_and_tells_what_it_was(text in any::<String>(), other in any::<String>()) {
            prop_assert!(escaped(&text).chars().all(is_plain));
            prop_assert_eq!(escaped(&text) == escaped(&other), text == other);
        }

        #[test]
        fn controls_are_never_plain(code in (0_u32..0x20).prop_union(0x7f..0xa0)) {
            prop_assert!(!is_plain(char::from_u32(code).unwrap()));
        }
    }
}
