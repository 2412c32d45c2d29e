//! Makes text safe to show in a terminal. Text from a file may hold sequences that hide or move
//! other text on the screen, and people sign what they see.

use std::fmt::Write;

use serde_json::Value;

/// Whether a terminal shows the character where it stands, and the character moves no other text.
///
/// False for controls (C0, DEL, C1), separators of lines and paragraphs, characters that change the
/// direction of writing (UAX #9, section 2), other characters without a width or shape of their own
/// (`Default_Ignorable_Code_Point`, section 5.21 of the Unicode standard), and unassigned ones.
#[must_use]
pub fn is_plain(character: char) -> bool {
    match character {
        ' '..='~' => true,
        // Unicode calls these letters or marks, but they have no shape: fillers, joiners, variation
        // selectors.
        '\u{34f}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        // `escape_debug` escapes controls, format characters, separators, and private and
        // unassigned characters. It escapes combining marks only at the beginning of a text.
        _ => format!("a{character}").escape_debug().eq(['a', character]),
    }
}

/// `text` in one line that a terminal may show. A character that is not plain becomes `\u{…}`, and
/// a line's end `\n`. A backslash is doubled, so that nobody takes it for the start of an escape.
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

/// Finds the first character in a document's field names and texts that is not plain, and returns
/// its place and the character. In a public key in PEM, line ends are allowed.
#[must_use]
pub fn find_hidden(document: &Value) -> Option<(String, char)> {
    find("", document)
}

fn find(path: &str, value: &Value) -> Option<(String, char)> {
    let in_text = |place: &str, text: &str, is_pem: bool| {
        let hidden = text
            .chars()
            .find(|character| !(is_plain(*character) || is_pem && *character == '\n'))?;
        Some((place.to_owned(), hidden))
    };
    match value {
        Value::String(text) => in_text(path, text, path.ends_with(".keyval.public")),
        Value::Array(items) => items.iter().find_map(|item| find(path, item)),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let (place, inside) = if path.is_empty() {
                ("the name of a field", name.clone())
            } else {
                (path, format!("{path}.{name}"))
            };
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
    fn characters_that_hide_or_move_text_are_escaped() {
        for (text, shown) in [
            ("alice", "alice"),
            ("Zoë Müller, 山田 太郎 – \"π\"", "Zoë Müller, 山田 太郎 – \"π\""),
            ("राजेश", "राजेश"),
            ("a\u{1b}[2K\u{1b}[1Ab", "a\\u{1b}[2K\\u{1b}[1Ab"),
            ("a\u{9b}31mb\u{7f}", "a\\u{9b}31mb\\u{7f}"),
            ("a\r\n\tb\u{85}", "a\\r\\n\\tb\\u{85}"),
            ("a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"),
            ("a\u{202e}b\u{2066}c\u{200f}\u{61c}", "a\\u{202e}b\\u{2066}c\\u{200f}\\u{61c}"),
            (
                "a\u{200b}\u{200d}\u{feff}\u{ad}\u{2060}",
                "a\\u{200b}\\u{200d}\\u{feff}\\u{ad}\\u{2060}",
            ),
            (
                "a\u{fe0f}\u{e0101}\u{e0041}\u{3164}\u{2800}",
                "a\\u{fe0f}\\u{e0101}\\u{e0041}\\u{3164}\\u{2800}",
            ),
            ("C:\\u{1b}", "C:\\\\u{1b}"),
        ] {
            assert_eq!(escaped(text), shown);
        }
    }

    proptest! {
        #[test]
        fn escaped_text_is_plain_and_unambiguous(text in any::<String>(), other in any::<String>()) {
            prop_assert!(escaped(&text).chars().all(is_plain));
            prop_assert_eq!(escaped(&text) == escaped(&other), text == other);
        }

        #[test]
        fn controls_are_never_plain(code in (0_u32..0x20).prop_union(0x7f..0xa0)) {
            prop_assert!(!is_plain(char::from_u32(code).unwrap()));
        }
    }
}
