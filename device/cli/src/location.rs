//! URLs: where a server points to, and what people are shown of one.

/// The URL that `to`, a `Location`, means in an answer to `url` (RFC 3986, section 5.2, without dots on the way). A server that is asked in secret points to
/// no public one.
pub fn resolve(url: &str, to: &str) -> Result<String, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let to = to.split('#').next().unwrap_or_default();
    let begins = |scheme: &str| to.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
    let resolved = match to {
        "" => return Err("the server points elsewhere, and doesn't say where".to_owned()),
        _ if begins("https://") || begins("http://") => to.to_owned(),
        _ if to.starts_with("//") => format!("{scheme}:{to}"),
        _ if to.starts_with('/') => format!("{scheme}://{authority}{to}"),
        _ if to.contains("://") => return Err("the server points to what is neither http nor https".to_owned()),
        _ => format!("{scheme}://{authority}{}/{to}", path.rsplit_once('/').map_or("", |(folder, _)| folder)),
    };
    if scheme.eq_ignore_ascii_case("https") && !resolved.to_ascii_lowercase().starts_with("https://") {
        return Err("the server points from https to http, where anybody could listen".to_owned());
    }
    Ok(resolved)
}

/// A URL for people: without its query and whoever stands before its host, which may let somebody in.
pub fn shown(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(url, _)| url);
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = rest.split('/').next().unwrap_or_default();
    let rest = authority.rfind('@').and_then(|at| rest.get(at + 1..)).unwrap_or(rest);
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_a_browser_makes_of_it() {
        for (url, to, resolved) in [
            ("http://h/a/b?q", "http://other:1/c?d", Some("http://other:1/c?d")),
            ("http://h/a/b?q", "HTTPS://other/c#part", Some("HTTPS://other/c")),
            ("https://h/a/b", "//other/c", Some("https://other/c")),
            ("https://h:8/a/b?q", "/c/d?e", Some("https://h:8/c/d?e")),
            ("https://h/a/b?q=/x", "c?d", Some("https://h/a/c?d")),
            ("http://h", "c", Some("http://h/c")),
            ("http://[::1]:80/a", "/c", Some("http://[::1]:80/c")),
            ("https://h/a", "http://h/a", None),
            ("https://h/a", "ftp://h/a", None),
            ("https://h/a", "", None),
        ] {
            assert_eq!(resolve(url, to).ok().as_deref(), resolved, "{url} {to}");
        }
    }

    #[test]
    fn what_lets_somebody_in_is_not_shown() {
        for (url, told) in [
            ("https://user:p@ss@h:1/a@b?sig=1", "https://h:1/a@b"),
            ("http://[::1]/a", "http://[::1]/a"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(shown(url), told);
        }
    }
}
