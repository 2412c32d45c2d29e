"""A stranger who may write files but holds no keys. A false root, and text hidden in what others
read, stops and misleads nobody."""

import copy
import json
import subprocess
import unicodedata
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from .ceremony import FolderCeremony
from .device import sha256
from .folder import FolderForm
from .form import DONE, one_line_error, run
from .holders import Holder, edit_with_python_tuf
from .http_client import ask
from .polling import until

# Hides the line before it and reverses what follows. The last needs no escape character; the others
# are invisible.
HIDING = "\x1b[1A\x1b[2K\u202e\u200b\x9b2K\u2028x"


def root_version(device) -> int:
    return device.update()._trusted_set.root.version


def make_strangers(ceremony: FolderCeremony) -> dict[str, bytes]:
    """Files that are no second root, by description."""
    folder = ceremony.folder
    ceremony.done("next", *ceremony.place)
    unsigned = (folder / "2.root.json").read_bytes()
    ceremony.sign("2.root.json", ceremony.alice)
    too_few = (folder / "2.root.json").read_bytes()

    def takes_over(root: Root) -> None:
        mallory = root.keys[root.roles["timestamp"].keyids[0]]
        root.roles["root"].keyids = [mallory.keyid]
        root.roles["root"].threshold = 1

    (folder / "2.root.json").write_bytes(unsigned)
    ceremony.done("add-key", "2.root.json", *ceremony.dave.key)
    own = folder / "own.json"
    own.write_bytes((folder / "2.root.json").read_bytes())
    edit_with_python_tuf(own, lambda root: setattr(root.roles["root"], "threshold", 1), ceremony.dave)
    older = (ceremony.form.data / "repository" / "metadata" / "1.root.json").read_bytes()
    return {"no JSON": b"no root", "endless": b" " * 2_000_000, "by nobody": unsigned, "by too few": too_few, "by himself": own.read_bytes(), "the first": older}


@pytest.mark.slow
def test_a_strangers_root_stops_nobody(folder_ceremony: FolderCeremony, tmp_path: Path):
    ceremony = folder_ceremony
    ceremony.first()
    form: FolderForm = ceremony.form
    name, number = "strangers/a", 0
    form.put(name, b"0")
    form.wait_published({name: sha256(b"0")})
    old, old_tuf_js = form.device(), form.tuf_js_device()
    assert root_version(old) == 1 and old_tuf_js.find([name]) == {name: sha256(b"0")}
    strangers = make_strangers(ceremony)
    (ceremony.folder / "2.root.json").unlink()
    place = form.data / "repository" / "metadata" / "2.root.json"
    url = f"{form.endpoints['metadata_url']}2.root.json"

    for what, stranger in strangers.items():
        place.write_bytes(stranger)
        number += 1
        data = str(number).encode()
        form.put(name, data)
        expected = {name: sha256(data)}
        form.wait_published(expected)
        # Known devices, and new ones.
        for device in (old, old_tuf_js, form.tuf_js_device()):
            assert device.find([name]) == expected, what
        form.wait_tough(name, expected[name])
        assert ask(url).status == 404, what
        # It is reported, in one line.
        digest = sha256(stranger)
        ignored = lambda: [event["detail"] for event in form.events() if event["detail-type"] == "Root Ignored"]
        if len(stranger) < 512_000:
            until("told", lambda: [one for one in ignored() if one["sha256"] == digest], 90)
        status = form.tufline("status", operator=True)
        told = [line for line in status.stdout.splitlines() if line.startswith("not a root ")]
        assert len(told) == 1 and "metadata/2.root.json" in told[0] and "root publish" in told[0], (what, status)
        status = json.loads(form.tufline("status", "--json", operator=True).stdout)
        assert [one["version"] for one in status["ignored_roots"]] == [2] and status["roles"][0]["version"] == 1
        copied = form.tufline("mirror", tmp_path / f"mirror-{number}")
        assert copied.returncode == DONE, (what, copied.stderr)
        assert not (tmp_path / f"mirror-{number}" / "metadata" / "2.root.json").exists()

    # The same with a folder that anybody may write to: the mirror copies its files as a device
    # would see them without the stranger's.
    away = tmp_path / "away" / "metadata"
    subprocess.run(["cp", "-r", tmp_path / f"mirror-{number}", tmp_path / "away"], check=True)
    (away / "2.root.json").write_bytes(strangers["by himself"])
    urls = ["--metadata", away.as_uri(), "--root", form.endpoints["trusted_root"]]
    copied = run("mirror", tmp_path / "again", *urls)
    assert copied.returncode == DONE and "2.root.json there does not follow as a root" in copied.stderr, copied
    assert not (tmp_path / "again" / "metadata" / "2.root.json").exists()

    # A fresh start uses the same root; then the honest holders' root takes the place.
    form.stop()
    form.start()
    ceremony.done("next", *ceremony.place)
    ceremony.done("add-key", "2.root.json", *ceremony.dave.key)
    ceremony.sign("2.root.json", ceremony.alice, ceremony.bob)
    ceremony.publish("2.root.json")
    form.put(name, b"last")
    expected = {name: sha256(b"last")}
    form.wait_published(expected)
    for device in (old, old_tuf_js, form.tuf_js_device()):
        assert device.find([name]) == expected
    assert root_version(old) == 2 and root_version(form.device()) == 2
    form.wait_tough(name, expected[name])
    status = json.loads(form.tufline("status", "--json", operator=True).stdout)
    assert status["ignored_roots"] == [] and status["roles"][0]["version"] == 2


def test_another_first_root_is_not_believed(folder_ceremony: FolderCeremony):
    ceremony = folder_ceremony
    ceremony.first()
    form: FolderForm = ceremony.form
    form.put("strangers/b", b"1")
    form.wait_published({"strangers/b": sha256(b"1")})
    place = form.data / "repository" / "metadata" / "1.root.json"
    first, copied = place.read_bytes(), (form.data / "root.json").read_bytes()
    other = ceremony.folder / "other.json"
    other.write_bytes(first)
    edit_with_python_tuf(other, lambda root: setattr(root, "expires", root.expires.replace(year=root.expires.year + 1)), ceremony.alice, ceremony.bob)
    place.write_bytes(other.read_bytes())
    # A running process continues; a new one stops, and says why.
    form.put("strangers/b", b"2")
    form.wait_published({"strangers/b": sha256(b"2")})
    form.stop()
    why = "is not the root that this repository trusts"
    assert why in one_line_error(run("local", "--data", form.data, "--listen", "127.0.0.1:0"))
    assert why in one_line_error(ceremony.root("next", "--out", "x.json", *ceremony.place))
    assert (form.data / "root.json").read_bytes() == copied and place.read_bytes() == other.read_bytes()
    place.write_bytes(first)
    form.start()
    form.wait_published({"strangers/b": sha256(b"2")})
    # And if the configuration names it, whatever the copy is.
    form.stop()
    contents = ceremony.show("1.root.json")["contents"]
    (form.data / "root.json").unlink()
    (form.data / "config.toml").write_text(f'trusted_root = "{contents}"\n')
    place.write_bytes(other.read_bytes())
    assert why in one_line_error(run("local", "--data", form.data, "--listen", "127.0.0.1:0"))
    place.write_bytes(first)
    form.start()


def plain(text: str) -> bool:
    return all(character == "\n" or (character.isprintable() and not unicodedata.category(character).startswith("C")) for character in text)


def test_people_see_what_they_sign(folder_ceremony: FolderCeremony):
    ceremony = folder_ceremony
    ceremony.first()
    folder, alice = ceremony.folder, ceremony.alice
    ceremony.done("next", *ceremony.place)
    ceremony.done("add-key", "2.root.json", *ceremony.dave.key)
    honest = (folder / "2.root.json").read_text()

    def with_field(edit) -> None:
        document = json.loads(honest)
        edit(document["signed"])
        (folder / "2.root.json").write_text(json.dumps(document))

    def extra(signed: dict) -> None:
        signed[f"x-{HIDING}"] = "1"

    def value(signed: dict) -> None:
        signed["x-ticket"] = {"a": [f"{HIDING}"]}

    def in_role(signed: dict) -> None:
        signed["roles"]["root"]["x"] = HIDING

    for edit in (extra, value, in_role):
        with_field(edit)
        shown = ceremony.root("show", "2.root.json")
        assert shown.returncode == DONE, shown.stderr
        assert plain(shown.stdout) and "root: + dave" in shown.stdout, shown.stdout
        # In a name as Tufline's own escape, in a value as JSON's.
        assert "\\u{1b}[1A\\u{1b}[2K" in shown.stdout or "\\u001b[1A\\u001b[2K" in shown.stdout, shown.stdout
        asked = ceremony.root("show", "2.root.json", "--json")
        assert plain(asked.stdout) and json.dumps(HIDING)[1:-1] in json.dumps(json.loads(asked.stdout)["fields"])
        error = one_line_error(ceremony.root("sign", "2.root.json", *alice.signing))
        assert plain(error) and "a terminal does not show as it is" in error, error
        assert json.loads((folder / "2.root.json").read_text())["signatures"] == []

    # An ordinary field is shown with its value, and with the root that it is compared with.
    with_field(lambda signed: signed.update({"x-ticket": ["OPS-7", "Zoë"]}))
    told = ceremony.done("show", "2.root.json")
    published = ceremony.form.data / "repository" / "metadata" / "1.root.json"
    contents = ceremony.show("1.root.json")["contents"]
    assert 'field      x-ticket: ["OPS-7","Zoë"]' in told
    assert f"its contents {contents}, its file {sha256((folder / '1.root.json').read_bytes())}" in told
    assert "not compared with the published version" in told
    told = ceremony.done("sign", "2.root.json", *alice.signing, *ceremony.place)
    assert "it is the published version" in told and "the signing key is listed in version 1" in told
    told = ceremony.done("sign", "2.root.json", *ceremony.dave.signing)
    assert "the signing key is NOT listed in version 1" in told

    # Another earlier version, which would hide the changes: it is reported by its contents, and
    # refused if the published one is available.
    document = json.loads(honest)
    other = copy.deepcopy(document)
    other["signed"]["version"] = 1
    (folder / "other.json").write_text(json.dumps(other))
    told = ceremony.done("show", "2.root.json", "--previous", "other.json")
    assert "+ dave" not in told and contents not in told
    for command in (["show"], ["sign", *alice.signing]):
        arguments = ["2.root.json", "--previous", "other.json", *ceremony.place]
        refused = ceremony.root(command[0], *arguments, *command[1:])
        assert refused.returncode != DONE and "differs from the published version 1" in refused.stderr, refused
    assert Metadata[Root].from_bytes(published.read_bytes()).signed.version == 1

    # A name is refused before it enters a root.
    erin = Holder("erin", folder)
    error = one_line_error(ceremony.root("add-key", "2.root.json", "--key", f"er\u200bin={erin.pem.with_suffix('.pub')}"))
    assert "U+200B" in error


@pytest.mark.parametrize("hidden", ["\x1b[2Kx", "\u202ex", "a\nnot a root  x"])
def test_names_and_errors_are_told_in_one_plain_line(folder: FolderForm, tmp_path: Path, hidden: str):
    folder.put(hidden, b"1")
    folder.put("plain", b"2", '{"a": "\x1b[2K"}')
    folder.put("good", b"3")
    folder.wait_published({"good": sha256(b"3"), "plain": None})
    until("refused", lambda: folder.events_about([hidden], "Upload Rejected"), 60)
    status = folder.tufline("status", operator=True)
    assert status.returncode == DONE and plain(status.stdout), status
    assert not any(line.startswith("not a root") for line in status.stdout.splitlines())
    log = folder.log.read_text()
    assert plain(log), log
    place = tmp_path / f"{hidden.replace('/', '')}.json"
    place.write_text(f'{{"{json.dumps(hidden)[1:-1]}": ')
    for command in (
        ["wait", hidden, "--endpoints", place],
        ["root", "show", place],
        ["root", "sign", place, "--key", place],
        ["upload", place, "--endpoints", place],
        ["delegation", "sign", place, "--key", place],
        ["targets", "sign", place, "--key", place],
        ["mirror", tmp_path / "m", "--endpoints", place],
        ["import", place, "--root", place, "--data", place],
        ["key", "rotate", "timestamp", "--data", place],
    ):
        done = run(*command)
        assert done.returncode != DONE and plain(done.stdout + done.stderr), done
        assert len(done.stderr.splitlines()) == 1 or "Usage" in done.stderr, done.stderr
