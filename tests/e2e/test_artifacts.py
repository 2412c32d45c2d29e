"""Devices verify exactly what was uploaded: through python-tuf, tuf-js and tough."""

import os
import random
from pathlib import Path

import pytest

from .device import sha256, sha256_of_file
from .form import DONE, Form, json_lines
from .polling import throughout, until

MIB = 1 << 20


def test_an_artifact_appears_is_overwritten_and_goes(form: Form):
    name = f"{form.unique('one')}/fw-1.0_x86.bin"
    seasoned, with_tuf_js = form.device(), form.tuf_js_device()
    for data in (b"first", b"second, longer"):
        form.put(name, data)
        form.wait_published({name: sha256(data)}, device=seasoned)
        for device in (form.device(), seasoned, form.tuf_js_device(), with_tuf_js):
            assert device.download_bytes(name) == data
        form.wait_tough(name, sha256(data))
    form.remove(name)
    form.wait_published({name: None}, device=seasoned)
    assert form.device().find([name]) == with_tuf_js.find([name]) == {name: None}
    form.wait_tough(name, None)


def test_custom_metadata_travels_along(form: Form):
    name = f"{form.unique('custom')}/a"
    form.put(name, b"x", r'{"board": "\u00e9", "rev": [1, null, true]}')
    form.wait_published({name: sha256(b"x")})
    assert form.device().custom(name) == {"board": "é", "rev": [1, None, True]}


def test_names_of_all_allowed_characters_are_found(form: Form):
    folder = form.unique("names")
    names = [f"{folder}/a.b_c~d+e@f=g,h-i", f"{folder}/{'deep/' * 9}x", f"{folder}/0", f"{folder}/_", f"{folder}/A"]
    for name in names:
        form.put(name, name.encode())
    form.wait_published({name: sha256(name.encode()) for name in names})
    device, with_tuf_js = form.device(), form.tuf_js_device()
    for name in names:
        assert device.download_bytes(name) == with_tuf_js.download_bytes(name) == name.encode()
        form.wait_tough(name, sha256(name.encode()))


def test_an_artifact_of_no_bytes(form: Form):
    name = f"{form.unique('empty')}/nothing"
    form.put(name, b"")
    form.wait_published({name: sha256(b"")})
    assert form.device().download_bytes(name) == b""
    form.wait_tough(name, sha256(b""))


def test_an_artifact_in_several_parts(form: Form, tmp_path: Path):
    name, path = f"{form.unique('parts')}/21mib.bin", tmp_path / "21mib.bin"
    path.write_bytes(os.urandom(21 * MIB))
    form.put_file(name, path)
    form.wait_published({name: sha256_of_file(path)})
    assert sha256_of_file(form.device().download(name)) == sha256_of_file(path)


def test_a_large_artifact(form: Form, tmp_path: Path):
    name, path = f"{form.unique('large')}/300mib.bin", tmp_path / "300mib.bin"
    with path.open("wb") as file:
        for _ in range(300):
            file.write(random.randbytes(MIB))
    done = form.tufline("upload", path, "--name", name, "--wait", "--timeout", 240, "--json")
    assert done.returncode == DONE, (done.stdout, done.stderr)
    (line,) = json_lines(done)
    digest = sha256_of_file(path)
    assert (line["outcome"], line["sha256"], line["length"]) == ("published", digest, 300 * MIB)
    for device in (form.device(), form.tuf_js_device()):
        assert sha256_of_file(device.download(name)) == digest


def test_one_name_overwritten_quickly_ends_on_the_last_bytes(form: Form):
    name = f"{form.unique('fifty')}/latest"
    for number in range(50):
        form.put(name, f"version {number}".encode())
    last = sha256(b"version 49")
    form.wait_published({name: last})
    # Messages about the earlier versions may still be on the way: none of them may win.
    form.wait_published({name: last, settled(form): sha256(b"settled")})
    assert form.device().download_bytes(name) == b"version 49"


def settled(form: Form) -> str:
    """Publishes one more target, so that all earlier messages have been handled, and returns its
    name."""
    name = f"{form.unique('settled')}/x"
    form.put(name, b"settled")
    form.wait_published({name: sha256(b"settled")})
    return name


def test_the_same_bytes_under_many_names_are_stored_once(form: Form):
    folder, data = form.unique("same"), os.urandom(4096)
    before = form.blobs()
    names = [f"{folder}/{number}" for number in range(100)]
    for name in names:
        form.put(name, data)
    form.wait_published({name: sha256(data) for name in names})
    assert form.blobs() - before == {sha256(data)}


def test_changed_custom_metadata_is_published_again(folder):
    folder.put("a.bin", b"x", '{"rev":1}')
    folder.wait_published({"a.bin": sha256(b"x")})
    assert folder.device().custom("a.bin") == {"rev": 1}
    folder.side_file("a.bin").write_text('{"rev":2}')
    until("published again", lambda: folder.device().custom("a.bin") == {"rev": 2})


@pytest.mark.parametrize("name", [".hidden", "x.part", "x.tmp", "d/.git/x"])
def test_what_is_not_an_upload_is_ignored(folder, name: str):
    folder.put(name, b"x")
    folder.put("after", b"y")
    folder.wait_published({"after": sha256(b"y"), name: None})
    # Long enough for files that are written in place.
    throughout("ignored", lambda: folder.manifests()[-1]["targets"] == 1, 1.0)
    assert not [event for event in folder.events() if event["detail-type"] == "Upload Rejected"]
