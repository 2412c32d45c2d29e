//! URLs: the target of a redirect, and the form that people see.

/// Resolves a `Location` in an answer to `url` (RFC 3986, section 5.2, except for dot segments).
/// Refuses a redirect from https to http.
pub fn resolve(url: &str, to: &str) -> Result<String, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let to = to.split('#').next().unwrap_or_default();
    let begins = |scheme: &str| {
        to.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    };
    let resolved = match to {
        "" => return Err("the server redirects without a Location".to_owned()),
        _ if begins("https://") || begins("http://") => to.to_owned(),
        _ if to.starts_with("//") => format!("{scheme}:{to}"),
        _ if to.starts_with('/') => format!("{scheme}://{authority}{to}"),
        _ if to.contains("://") => {
            return Err("the server redirects to a URL that is neither http nor https".to_owned());
        }
        _ => format!(
            "{scheme}://{authority}{}/{to}",
            path.rsplit_once('/').map_or("", |(folder, _)| folder)
        ),
    };
    if scheme.eq_ignore_ascii_case("https")
        && !resolved.to_ascii_lowercase().starts_with("https://")
    {
        return Err(
            "the server redirects from https to http, where anybody could listen".to_owned()
        );
    }
    Ok(resolved)
}

/// A URL for messages: without its query and without the user in front of its host, since both may
/// contain secrets.
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
    fn a_location_is_resolved_as_browsers_do() {
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
    fn secrets_in_a_url_are_not_shown() {
        for (url, told) in [
            ("https://user:p@ss@h:1/a@b?sig=1", "https://h:1/a@b"),
            ("http://[::1]/a", "http://[::1]/a"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(shown(url), told);
        }
    }
}
