"""Names delegated to other parties: who may sign for what, what is published, and what is refused;
with real clients."""

import json
from pathlib import Path

import pytest

from .conftest import MOST
from .device import SteadyDevice, sha256
from .form import DONE, REJECTED, Form, one_line_error
from .holders import Holder
from .party import Party
from .polling import until


def delegation(form: Form, command: str, *arguments: object):
    return form.tufline("delegation", command, *arguments, operator=True)


def done(form: Form, command: str, *arguments: object) -> str:
    run = delegation(form, command, *arguments)
    assert run.returncode == DONE, (run.stdout, run.stderr)
    return run.stdout


def refused(form: Form, command: str, *arguments: object, why: str) -> None:
    before = done(form, "show", "--json")
    error = one_line_error(delegation(form, command, *arguments))
    assert why in error, error
    assert done(form, "show", "--json") == before, "something was written"


def state(form: Form, role: str) -> dict:
    [shown] = json.loads(done(form, "show", role, "--json"))["delegations"]
    return shown


def expect_refusal(form: Form, role: str, why: str, count: int = 1) -> None:
    """Waits for the event that says why a file of this role was refused."""
    name = f"delegations/{role}.json"

    def told() -> bool:
        reasons = [detail["reason"] for detail in form.events_about([name], "Upload Rejected")]
        assert any(why in reason for reason in reasons), reasons
        return True

    until(f"{name} is refused: {why}", told, form.patience)


def roles(form: Form, *words: str) -> list[str]:
    """Names of roles for one test."""
    unique = form.unique("").strip("-").replace("/", "")
    return [f"{word}-{unique}-x" for word in words]


@pytest.fixture
def vendor(form: Form, tmp_path: Path) -> Party:
    [role] = roles(form, "vendor")
    return Party(form, tmp_path, role, Holder("vera", tmp_path), Holder("viktor", tmp_path, "--ed25519"))


def create(form: Form, party: Party, *arguments: object, holders=None) -> None:
    keys = [argument for holder in holders or party.holders for argument in holder.key]
    done(form, "create", party.role, "--paths", f"{party.role}/*", *keys, *arguments)


def test_a_vendor_from_its_first_document_to_its_end(form: Form, vendor: Party):
    steady, name = f"{vendor.role}-own", f"{vendor.role}/fw.bin"
    form.put(steady, b"own")
    form.wait_published({steady: sha256(b"own")})
    before = form.published_roles()["targets"]
    create(form, vendor, "--threshold", 2)
    assert state(form, vendor.role)["state"] == "waiting"

    # The artifact first: the repository keeps it, and devices don't see it.
    vendor.put(name, b"1")
    until("kept", lambda: form.events_about([name], "Upload Delegated"), form.patience)
    assert form.device().find([name]) == {name: None}
    assert name not in form.listed() and form.published_roles()["targets"] == before

    with SteadyDevice(form.device(), [steady]):
        # One signature is too few; a second makes the document valid.
        first, second = vendor.holders
        vendor.sign(first).deliver()
        expect_refusal(form, vendor.role, "not signed as it must be")
        vendor.sign().deliver()
        expected = {name: sha256(b"1"), steady: sha256(b"own")}
        form.wait_published(expected)
        assert state(form, vendor.role)["state"] == "listed"
        form.wait_tough(name, sha256(b"1"))
        assert form.tuf_js_device().find(expected) == expected
        device = form.device()
        assert device.download_bytes(name) == b"1"
        [entry] = [role for role in form.signed(form.published_roles()["targets"])["delegations"]["roles"] if role["name"] == vendor.role]
        assert entry["terminating"] and entry["paths"] == [f"{vendor.role}/*"] and entry["threshold"] == 2

        # The document before its artifact: it is refused at first, and checked again when the
        # artifact comes.
        (vendor.targets / vendor.role / "late.bin").write_bytes(b"late")
        vendor.sign().deliver()
        late = f"{vendor.role}/late.bin"
        expect_refusal(form, vendor.role, f"the bytes of {late}")
        vendor.put(late, b"late")
        form.wait_published({late: sha256(b"late"), name: sha256(b"1")}, device=device)

    # An older version, and the same version again, are refused.
    vendor.backup(vendor.folder / "old.json")
    version = json.loads(vendor.file.read_text())["signed"]["version"]
    vendor.put(name, b"2")
    vendor.sign().deliver()
    form.wait_published({name: sha256(b"2")}, device=device)
    form.deliver(vendor.role, (vendor.folder / "old.json").read_bytes())
    expect_refusal(form, vendor.role, f"it has version {version}, and version {version + 1} was delivered before")
    assert form.device().find([name]) == {name: sha256(b"2")}

    # One key signs for both from now on.
    key = state(form, vendor.role)["keys"][1]["keyid"]
    refused(form, "remove-key", vendor.role, key, why="choose a threshold from 1 to 1")
    done(form, "remove-key", vendor.role, key, "--threshold", 1)
    vendor.put(name, b"3")
    vendor.sign(first).deliver()
    form.wait_published({name: sha256(b"3")}, device=device)

    # The end: devices no longer find it, and nobody else can publish under its names.
    done(form, "remove", vendor.role)
    form.wait_published({name: None, late: None, steady: sha256(b"own")}, device=device)
    form.wait_tough(name, None)
    form.put(name, b"mine")
    run = form.tufline("wait", name, "--timeout", 60)
    assert run.returncode == REJECTED and "which was removed" in run.stderr, run.stderr
    done(form, "remove", vendor.role, "--release")
    form.put(name, b"mine too")
    form.wait_published({name: sha256(b"mine too")}, device=device)


def test_parties_and_bins_in_one_repository(small: Form, tmp_path: Path):
    """tuf-js verifies roles in the order in which it reads them, so they must be signed in that
    order."""
    form, expected = small, {"nothing": None}
    seasoned, seasoned_js = form.device(), form.tuf_js_device()
    # One party comes before the bins, one after; alphabetically, the bins are between their names.
    first, second = roles(form, "alpha", "zeta")
    for role in (first, second):
        party = Party(form, tmp_path, role, Holder(role, tmp_path))
        create(form, party)
        name = f"{role}/fw.bin"
        party.put(name, role.encode())
        party.sign().deliver()
        own = {f"own-{role}-{number}": f"{role} {number}".encode() for number in range(MOST + 1)}
        for file, data in own.items():
            form.put(file, data)
        expected |= {file: sha256(data) for file, data in {**own, name: role.encode()}.items()}
        form.wait_published(expected, device=seasoned)
        assert "bin-0" in form.published_roles()
        for device in (seasoned_js, form.tuf_js_device()):
            assert device.find(expected) == expected
            for file, data in [(name, role.encode()), *own.items()]:
                assert device.download_bytes(file) == data
        assert form.device().find(expected) == expected
        for file in (name, next(iter(own))):
            form.wait_tough(file, expected[file])
    delegated = form.signed(form.published_roles()["targets"])["delegations"]["roles"]
    bins = [(f"bin-{digit}", [digit]) for digit in "0123456789abcdef"]
    assert [entry["name"] for entry in delegated[:2]] == [first, second]
    assert [(entry["name"], entry["path_hash_prefixes"]) for entry in delegated[2:]] == bins


def test_what_may_not_be_delegated_is_refused(form: Form, vendor: Party):
    first, _ = vendor.holders
    taken = f"{vendor.role}-taken/a"
    form.put(taken, b"a")
    form.wait_published({taken: sha256(b"a")})
    create(form, vendor)
    key, other = first.key, f"{vendor.role}-other"
    for arguments, why in [
        ([vendor.role, "--paths", "elsewhere/*", *key], "this delegation exists"),
        ([other, "--paths", f"{vendor.role}/a*", *key], f"overlaps {vendor.role}/* of {vendor.role}"),
        ([other, "--paths", f"{vendor.role}*", *key], f"overlaps {vendor.role}/* of {vendor.role}"),
        ([other, "--paths", f"{vendor.role}-taken/*", *key], f"{taken} and 0 other published targets"),
        ([other, "--paths", f"{vendor.role}-free/*", *key, *key], "a key is given twice"),
        ([other, "--paths", f"{vendor.role}-free/*", *key, "--threshold", 2], "2 of 1 keys can't sign"),
        (["targets", "--paths", f"{vendor.role}-free/*", *key], "a top-level role's name"),
        (["bin-vendor", "--paths", f"{vendor.role}-free/*", *key], "those of bins"),
        (["7", "--paths", f"{vendor.role}-free/*", *key], "choose a name with a letter"),
    ]:
        refused(form, "create", *arguments, why=why)
    for pattern in ("*", "x/**", "../x", "/x", "[a]"):
        assert delegation(form, "create", other, "--paths", pattern, *key).returncode == 2, pattern
    refused(form, "remove-key", vendor.role, "00000000", why="0 of its keys")
    refused(form, "add-key", other, *key, why="there is no such delegation")
    refused(form, "add-key", vendor.role, *key, why="may sign already")


def test_what_may_not_be_delivered_is_refused(form: Form, vendor: Party, tmp_path: Path):
    first, second = vendor.holders
    create(form, vendor, holders=[first])
    name = f"{vendor.role}/a"
    vendor.put(name, b"a")
    vendor.sign(first).deliver()
    form.wait_published({name: sha256(b"a")})

    def rejected(role: str, data: bytes, why: str) -> None:
        form.deliver(role, data)
        expect_refusal(form, role, why)
        assert form.device().find([name]) == {name: sha256(b"a")}

    rejected(vendor.role, b"{", "not a signed targets document")
    rejected(vendor.role, b" " * 1_000_001, "more than 1000000 bytes")
    # A stranger's document, and a changed one.
    vendor.sign(second)
    rejected(vendor.role, vendor.file.read_bytes(), "not signed as it must be")
    vendor.sign(first).edit(lambda text: text["signed"].update(version=99))
    rejected(vendor.role, vendor.file.read_bytes(), "not signed as it must be")
    vendor.file.unlink()
    vendor.sign(first, expires="30 minutes")
    vendor.sign(first, expires="30 minutes")
    rejected(vendor.role, vendor.file.read_bytes(), "an hour must be left at least")
    # Names that aren't its own, or only in some clients' reading.
    for foreign in ("mine/a", f"{vendor.role}/deep/er"):
        place = vendor.targets / foreign
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
        vendor.sign(first)
        rejected(vendor.role, vendor.file.read_bytes(), f"it lists {foreign}")
        place.unlink()
    [stranger] = roles(form, "stranger")
    rejected(stranger, vendor.file.read_bytes(), f"nothing is delegated to {stranger}")
    # A good document from other tools still gets through.
    vendor.put(name, b"b")
    vendor.with_python_tuf(50, first, state(form, vendor.role), {name: b"b"})
    vendor.deliver()
    form.wait_published({name: sha256(b"b")})
    form.wait_tough(name, sha256(b"b"))


@pytest.mark.slow
def test_a_party_may_delegate_further_where_that_is_allowed(make_folder, tmp_path: Path):
    for allowed in (False, True):
        form = make_folder(config=f"nested_delegations = {str(allowed).lower()}\n").start()
        folder = tmp_path / str(allowed)
        folder.mkdir()
        vera, beta = Holder("vera", folder), Holder("beta", folder)
        vendor, below = Party(form, folder, "vendor-x", vera), Party(form, folder, "vendor-x--beta", beta)
        done(form, "create", "vendor-x", "--paths", "vendor-x/*", "vendor-x/*/*", *vera.key)
        name, deep = "vendor-x/a", "vendor-x/beta/b"
        vendor.put(name, b"a")
        vendor.sign().deliver()
        form.wait_published({name: sha256(b"a")})

        below.put(deep, b"b")
        below.sign().deliver()
        expect_refusal(form, below.role, "no document of vendor-x delegates to it")

        def delegate(text: dict) -> None:
            # With the information that anybody can read in `targets`.
            other = make_folder().start()
            Party(other, folder / "other", below.role, beta)
            done(other, "create", "vendor-x", "--paths", "vendor-x/beta/*", *beta.key)
            keys = {entry["keyid"]: entry["key"] for entry in state(other, "vendor-x")["keys"]}
            role = {"name": below.role, "keyids": list(keys), "threshold": 1, "terminating": True, "paths": ["vendor-x/beta/*"]}
            text["signed"]["delegations"] = {"keys": keys, "roles": [role]}
            text["signatures"] = []
            other.close()

        vendor.edit(delegate)
        vendor.sign().deliver()
        if not allowed:
            expect_refusal(form, "vendor-x", "doesn't let parties delegate further")
            assert form.device().find([name, deep]) == {name: sha256(b"a"), deep: None}
            continue
        form.wait_published({name: sha256(b"a"), deep: sha256(b"b")})
        form.wait_tough(deep, sha256(b"b"))
        assert form.tuf_js_device().find([deep]) == {deep: sha256(b"b")}
        # Each continues independently, and can't break the other.
        below.put(deep, b"c")
        below.sign().deliver()
        form.wait_published({name: sha256(b"a"), deep: sha256(b"c")})
        below.file.unlink()
        below.sign().deliver()
        expect_refusal(form, below.role, "it has version 1")
        assert form.device().find([deep]) == {deep: sha256(b"c")}
