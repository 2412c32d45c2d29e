"""Uploads that break a rule are refused with the reason, and delay no others."""

import os
from pathlib import Path

from .device import sha256
from .form import REJECTED, Form, json_lines
from .polling import until

# Each kind of custom metadata that some client reads differently (DESIGN: names and custom
# metadata).
BAD_CUSTOM = {
    "not JSON": "{",
    "not an object": "[1]",
    "a float": '{"a":1.5}',
    "a large integer": '{"a":9007199254740993}',
    "keys in another order by their quotes": '{"a":1,"a b":2}',
    "not in normal form": r'{"a":"e\u0301"}',
    "keys in another order by UTF-16": r'{"\uff5a":1,"\ud83d\ude00":2}',
    "a key twice": '{"a":1,"a":2}',
}

# Each kind of name that some client can't handle, below a folder or alone.
BAD_NAMES = ["a b", "é", "a:b", "a%41", "a#b", "a?b", "a\\b", "-a", "a\x07b", "alone.tuf.json", "y" * 242]

# Only a bucket can hold these.
BAD_KEYS = ["a//b", "trailing/", "a/../b", "./a", ".hidden"]


def test_bad_uploads_among_good_ones(form: Form):
    folder = form.unique("bad")
    bad = [f"{folder}/{name}" for name in BAD_NAMES + (BAD_KEYS if form.kind == "cloud" else [])] + ["__proto__"]
    custom = {f"{folder}/custom-{number}": text for number, text in enumerate(BAD_CUSTOM.values())}
    good = {f"{folder}/good-{number}": f"{folder} {number}".encode() for number in range(200)}
    assert len(bad) + len(custom) == (25 if form.kind == "cloud" else 20)
    for number, (name, data) in enumerate(good.items()):
        form.put(name, data)
        if number < len(bad):
            form.put(bad[number], b"bad")
        elif number < len(bad) + len(custom):
            at = number - len(bad)
            form.put(list(custom)[at], b"bad", list(custom.values())[at])
    form.wait_published({name: sha256(data) for name, data in good.items()}, seconds=120)
    refused = [*bad, *custom]

    def rejected() -> set[str]:
        return {rejection["name"] for rejection in form.events_about(refused, "Upload Rejected")}

    # Each refusal is announced at least once; two simultaneous checks of an upload may both
    # announce it.
    until("all refused", lambda: rejected() == set(refused), 60)
    rejections = form.events_about(refused, "Upload Rejected")
    for rejection in rejections:
        name = rejection["name"]
        assert rejection["place"] == form.place(name)
        assert rejection["code"] == ("custom" if name in custom else "name")
        assert rejection["reason"].isprintable(), "one line that a person can read"
        assert rejection["version"]
    # No client would accept some of these names as a question, so the test reads the metadata
    # itself.
    listed = form.listed()
    assert not set(refused) & listed
    assert len([name for name in listed if name.startswith(f"{folder}/")]) == 200
    if form.kind == "cloud":
        assert not any(form.dead_letters().values()), form.dead_letters()
        assert form.waiting(form.queue("uploads")) == 0


def test_a_bad_overwrite_leaves_what_was_good(form: Form):
    name = f"{form.unique('overwrite')}/a"
    form.put(name, b"good")
    form.wait_published({name: sha256(b"good")})
    form.put(name, b"worse", '{"a":1.5}')
    until("refused", lambda: form.events_about([name], "Upload Rejected"))
    done = form.tufline("wait", name, "--json", "--timeout", 30)
    (line,) = json_lines(done)
    assert (done.returncode, line["outcome"]) == (REJECTED, "rejected") and "1.5" in line["reason"]
    assert form.device().find([name]) == {name: sha256(b"good")}


def test_the_command_line_refuses_before_it_sends(form: Form, tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    folder = form.unique("early")
    for arguments in (["--name", f"{folder}/a b"], ["--name", f"{folder}/a", "--custom", "[]"], ["--prefix", f"{folder}//"]):
        done = form.tufline("upload", path, *arguments)
        assert done.returncode == REJECTED and len(done.stderr.splitlines()) == 1, done.stderr
        done = form.tufline("upload", path, *arguments, "--json")
        (line,) = json_lines(done)
        assert done.returncode == REJECTED and line["outcome"] == "rejected" and line["reason"]
    done = form.tufline("wait", f"{folder}/a b", "--json")
    assert done.returncode == REJECTED and json_lines(done)[0]["outcome"] == "rejected"


def test_a_name_that_is_not_text_is_refused(folder):
    (Path(os.fsdecode(bytes(folder.uploads) + b"/\xff\xfe"))).write_bytes(b"x")
    until("refused", lambda: folder.events_about(["\ufffd\ufffd"], "Upload Rejected"))
    folder.put("a", b"x")
    folder.wait_published({"a": sha256(b"x")})
