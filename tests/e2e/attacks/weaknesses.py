"""Known weaknesses."""

# What happens instead of the required behaviour, by the names of rows.
WEAKNESSES: dict[str, str] = {
    "a bin's file in the place of another's, of the same key and version, and without a digest (bare)": "the two differ in what they list "
    "only, which the specification lets pass: it says that there is no such target, and keeps the wrong file until the next version",
}
