//! Patterns of names (TUF specification 4.5, PATHPATTERN).

/// Whether `name` matches `pattern`, by the rules of a shell: only `/` matches `/`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    if pattern.split('/').count() != name.split('/').count() {
        return false;
    }
    pattern.split('/').zip(name.split('/')).all(|(pattern, part)| part_matches(pattern, part))
}

/// Matches one segment. `back` is the last `*` and the text after it: on a mismatch, the `*` takes
/// one more character.
fn part_matches(pattern: &str, part: &str) -> bool {
    let (mut pattern, mut part) = (pattern, part);
    let mut back: Option<(&str, &str)> = None;
    loop {
        if let Some(rest) = pattern.strip_prefix('*') {
            back = Some((rest, part));
            pattern = rest;
            continue;
        }
        let mut rest_of_part = part.chars();
        if let Some(character) = rest_of_part.next() {
            if let Some(rest) = one(pattern, character) {
                (pattern, part) = (rest, rest_of_part.as_str());
                continue;
            }
        } else if pattern.is_empty() {
            return true;
        }
        let Some((after, from)) = back else { return false };
        let mut rest = from.chars();
        if rest.next().is_none() {
            return false;
        }
        (pattern, part) = (after, rest.as_str());
        back = Some((after, rest.as_str()));
    }
}

/// The rest of the pattern after its first part, if that part matches this character.
fn one(pattern: &str, character: char) -> Option<&str> {
    let mut rest = pattern.chars();
    match rest.next()? {
        '?' => Some(rest.as_str()),
        '[' => match set(rest.as_str(), character) {
            Some((true, rest)) => Some(rest),
            Some((false, _)) => None,
            // Without an end it is no set: the bracket is an ordinary character.
            None => (character == '[').then_some(rest.as_str()),
        },
        literal => (literal == character).then_some(rest.as_str()),
    }
}

/// Whether a set contains this character, and the text after the set. `text` begins after the
/// opening bracket.
fn set(text: &str, character: char) -> Option<(bool, &str)> {
    let inner = text.strip_prefix(['!', '^']).unwrap_or(text);
    let negated = inner.len() < text.len();
    let mut characters = inner.char_indices().peekable();
    let (mut found, mut first) = (false, true);
    while let Some((at, low)) = characters.next() {
        if low == ']' && !first {
            return Some((found != negated, inner.get(at + 1..)?));
        }
        first = false;
        let mut ahead = characters.clone();
        let range = ahead.next().filter(|(_, dash)| *dash == '-').and_then(|_| ahead.next());
        match range {
            Some((_, high)) if high != ']' => {
                found |= (low..=high).contains(&character);
                characters = ahead;
            }
            _ => found |= low == character,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*", "a", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("a*b*c", "aXbYbZc", true),
            ("?", "é", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x]", "]", true),
            ("[", "[", true),
            ("*.tgz", ".tgz", true),
            ("", "", true),
            ("dir/*.json", "dir/file.json", true),
            ("dir/*.json", "dir/sub/file.json", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
