"""Weaknesses that are known, by the names of rows."""

from .row import BIN

SLOW = ("timestamp", "target")
UNSEEN = "ureq answers only when there are bytes to hand on, and so long neither the rate, nor the limit, nor the deadline is looked at"
UNHURRIED = "the deadline is looked at between requests, and not in one"
NORMAL = "a signature over Unicode's form C counts for strings that are not in it"
SAME = "the two differ in what they list only: it says that there is no such target, keeps the wrong file, and says so until the next version"
FAR = "the time is taken to be no earlier than an expiry less 30 days, and then the root has expired"
LARGE = "a document is read into values before its signatures are asked for"
# Weaknesses that are known, by the names of rows: what happens in the place of what must.
WEAKNESSES: dict[str, str] = {
    **{
        f"{step}: {what}": UNSEEN
        for step in SLOW
        for what in (
            "endless empty gzip blocks",
            "endless empty gzip members",
            "moved, with an endless page",
            "a byte each second of a chunk's extension",
            "a compressed block without a byte each second",
            "an empty chunk's size with a zero more each second",
            "trailers without an end",
        )
    },
    **{f"{step}: {what}": UNHURRIED for step in SLOW for what in ("no answer", "a byte of the head each second")},
    "root: a K in the timestamp's key is U+212A, of which some clients make a K before they verify": NORMAL,
    "targets: a K in a target's name is U+212A": NORMAL,
    f"{BIN}: a list of numbers, of 4.9 MB": LARGE,
    f"{BIN}: an object of 500,000 members, of 4.8 MB": LARGE,
    "a bin's file in the place of another's, of the same key and version, and without a digest (bare)": SAME,
    "timestamp's key: expires in the year 9990 once, and the next one as always": FAR,
    "timestamp: expires at 9999-12-31T23:59:59Z, which some call never": "the last second that it knows is a day earlier",
    "a role whose name is the name of the root in capitals": "where a file system doesn't tell capitals apart it is stored in the root's place",
    "target: the right half, with a tag of 30,000 letters, which the server refuses to hear": "it keeps the tag, and sends it for ever",
}
