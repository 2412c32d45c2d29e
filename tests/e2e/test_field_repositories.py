"""Repositories as other tools leave them: `tufline import`, `mirror` and `root` read everything in
them that python-tuf's clients read."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner

from .device import Device, sha256
from .field import FieldRepository
from .foreign import in_days
from .form import DONE, one_line_error, run
from .importing import FieldDevice, Import
from .static_server import StaticServer

FILES = {"fw.bin": b"one" * 1000, "gateway/v2/fw.bin": b"two" * 2000, "empty.bin": b""}


def p384() -> CryptoSigner:
    return CryptoSigner(ec.generate_private_key(ec.SECP384R1()))


def on_ci(role: str, signed: dict) -> None:
    """tuf-on-ci notes each key's owner in the key, but keeps its earlier id; and it notes in the
    roles their intended content."""
    for entry in signed.get("keys", {}).values():
        entry["x-tuf-on-ci-keyowner"] = "@somebody"
    signed["x-tuf-on-ci-expiry-period"] = 365
    for listed in signed.get("roles", {}).values():
        listed["x-tuf-on-ci-signing-period"] = 60


def with_algorithms(entry: dict) -> str:
    """The id that python-tuf computed before 1.0: from the entry with this field, which is not in
    the file."""
    entry = {"keytype": entry["keytype"], "scheme": entry["scheme"], "keyval": entry["keyval"]}
    whole = entry | {"keyid_hash_algorithms": ["sha256", "sha512"]}
    return sha256(encode_canonical(whole).encode())


def algorithms_stand_there(role: str, signed: dict) -> None:
    for entry in signed.get("keys", {}).values():
        entry["keyid_hash_algorithms"] = ["sha256", "sha512"]
        entry["keyval"]["private"] = ""


def old(role: str, signed: dict) -> None:
    """As tools wrote repositories when the specification was young."""
    signed["spec_version"] = "1.0"
    for meta in signed.get("meta", {}).values():
        meta.pop("length", None)
        meta.pop("hashes", None)


# Differences from what python-tuf writes; its client reads all of these.
KINDS = {
    "tuf-on-ci": {"edit": on_ci},
    "old-python-tuf": {"renames": with_algorithms},
    "older-python-tuf": {"renames": with_algorithms, "edit": algorithms_stand_there},
    "p384": {"signers": {"timestamp": p384(), "snapshot": p384(), "targets": p384()}},
    "old-ecdsa": {"edit": lambda role, signed: [
        entry.update(keytype="ecdsa-sha2-nistp256") for entry in signed.get("keys", {}).values() if entry["keytype"] == "ecdsa"
    ], "signers": {role: CryptoSigner.generate_ecdsa() for role in ("root", "timestamp")}},
    "rsa-2048": {"holders": [CryptoSigner(rsa.generate_private_key(65537, 2048))]},
    "young": {"edit": old},
    "succinct": {"bits": 3},
    "not-consistent": {"consistent": False},
}


@pytest.fixture
def take(tmp_path: Path, make_folder) -> Callable[..., Import]:
    """Makes another tool's repository, and a person who takes it over."""

    def make(**options) -> Import:
        foreign = FieldRepository(tmp_path / "foreign", **options)
        foreign.publish(FILES, by=7)
        people = tmp_path / "people"
        people.mkdir()
        return Import(people, foreign, make_folder())

    return make


def signed_by_tufline(moved: Import) -> None:
    """The ceremony with `tufline root` alone: the holder's signature counts under the id that the
    other tool gave the key."""
    moved.done()
    shown = run("root", "show", moved.next)
    assert shown.returncode == DONE, shown.stderr
    copies = []
    for number, holder in enumerate(moved.foreign.keys["root"]):
        key = moved.folder / f"holder-{number}.pem"
        key.write_bytes(holder.private_bytes)
        key.chmod(0o600)
        copy = moved.folder / f"copy-{number}.json"
        shutil.copy(moved.next, copy)
        previous = moved.folder / f"{moved.foreign.root.version}.root.json"
        done = run("root", "sign", copy, "--key", key, "--previous", previous)
        assert done.returncode == DONE, done.stderr
        copies.append(copy)
    done = run("root", "merge", moved.next, *copies)
    assert done.returncode == DONE, done.stderr
    moved.done("--next-root", moved.next)


@pytest.mark.parametrize("kind", KINDS)
def test_the_repositorys_devices_follow_the_move(take, tmp_path: Path, kind: str):
    moved: Import = take(**KINDS[kind])
    foreign, form = moved.foreign, moved.form
    shown = run("root", "show", moved.trusted, "--json")
    assert shown.returncode == DONE, shown.stderr
    (signatures,) = json.loads(shown.stdout)["signatures"]
    assert (signatures["needed"], len(signatures["signed"])) == (0, 1)
    listed = json.loads(Path(moved.trusted).read_bytes())["signed"]["roles"]
    told = json.loads(shown.stdout)["roles"]
    assert {role: [key["keyid"] for key in entry["keys"]] for role, entry in told.items()} == {
        role: entry["keyids"] for role, entry in listed.items()
    }
    assert run("root", "show", moved.trusted).returncode == DONE
    device = FieldDevice(Device, tmp_path / "device", moved.trusted)
    expected = {name: sha256(data) for name, data in FILES.items()}
    with StaticServer(foreign.folder) as server:
        urls = f"{server.url}metadata/", f"{server.url}targets/"
        assert device.at(*urls).find(FILES) == expected
        if foreign.root.consistent_snapshot:
            copy = tmp_path / "copy"
            done = run("mirror", copy, "--metadata", urls[0], "--root", moved.trusted)
            assert done.returncode == DONE, done.stderr
            with StaticServer(copy) as here:
                (tmp_path / "other").mkdir()
                other = FieldDevice(Device, tmp_path / "other" / "device", moved.trusted)
                client = other.at(f"{here.url}metadata/", f"{here.url}targets/")
                assert client.find(FILES) == expected
                assert client.download_bytes("gateway/v2/fw.bin") == FILES["gateway/v2/fw.bin"]
    signed_by_tufline(moved)
    form.start()
    form.put("new.bin", b"new")
    client = device.at(form.endpoints["metadata_url"], form.endpoints["targets_url"])
    expected["new.bin"] = sha256(b"new")
    form.wait_published(expected, device=client)
    assert client.download_bytes("fw.bin") == FILES["fw.bin"]
    # A key keeps its id as long as a root lists it, and Tufline's commands read that id.
    holders = foreign.signed("1.root.json")["roles"]["root"]["keyids"]
    assert form.signed("2.root.json")["roles"]["root"]["keyids"] == holders
    data = tmp_path / "uploaded.bin"
    data.write_bytes(b"by a command")
    done = form.tufline("upload", data, "--wait", "--timeout", "60")
    assert done.returncode == DONE, done.stderr
    assert form.tufline("status").returncode == DONE


def test_the_root_after_the_import_is_published_too(take):
    """With another tool's ids, in a ceremony of Tufline's own."""
    moved: Import = take(edit=on_ci)
    signed_by_tufline(moved)
    form = moved.form.start()
    done = run("root", "next", *moved.place, cwd=moved.folder)
    assert done.returncode == DONE, done.stderr
    third = moved.folder / "3.root.json"
    for command in (
        ["sign", third, "--key", moved.folder / "holder-0.pem", *moved.place],
        ["show", third, *moved.place],
        ["publish", third, *moved.place],
    ):
        done = run("root", *command)
        assert done.returncode == DONE, (command, done.stderr)
    device = Device({**form.endpoints, "trusted_root": str(moved.trusted)}, moved.folder)
    assert device.update()._trusted_set.root.version == 3


def test_fractions_and_offsets(take):
    """go-tuf's format of times, which python-tuf's client doesn't read: a device that ships with
    the newest root does."""

    def fraction(role: str, signed: dict) -> None:
        signed["expires"] = signed["expires"].replace("Z", ".123456789+01:00")
        if role == "root":
            # And a key of a kind that only its maker knows, in a role that doesn't need it.
            key = {"keytype": "sigstore-oidc", "scheme": "Fulcio", "keyval": {"identity": "a@example.com", "issuer": "x"}}
            signed["keys"]["00ff"] = key
            signed["roles"]["timestamp"]["keyids"].append("00ff")

    moved: Import = take(edit=fraction, hashes=("sha512",), consistent=False)
    signed_by_tufline(moved)
    form = moved.form.start()
    newest = moved.folder / "2.root.json"
    device = Device({**form.endpoints, "trusted_root": str(newest)}, moved.folder)
    assert device.find(FILES) == {name: sha256(data) for name, data in FILES.items()}
    assert form.signed("2.root.json")["expires"].endswith("Z") and "." not in form.signed("2.root.json")["expires"]


def test_other_digests_have_other_names(tmp_path: Path):
    """A copy has a target under each digest by which a client may ask for it."""
    for hashes in (("sha512",), ("sha512", "sha256")):
        foreign = FieldRepository(tmp_path / "-".join(hashes), hashes=hashes)
        foreign.publish(FILES)
        trusted = foreign.metadata / "1.root.json"
        copy = tmp_path / f"copy-{len(hashes)}"
        done = run("mirror", copy, "--metadata", foreign.metadata.as_uri(), "--root", trusted)
        assert done.returncode == DONE, done.stderr
        for name in hashes:
            digest = hashlib.new(name, FILES["gateway/v2/fw.bin"]).hexdigest()
            assert (copy / "targets" / "gateway" / "v2" / f"{digest}.fw.bin").read_bytes() == FILES["gateway/v2/fw.bin"]
        assert run("mirror", copy, "--metadata", foreign.metadata.as_uri(), "--root", trusted, "--prune").returncode == DONE


def test_a_root_that_is_trusted_needs_none_before_it(take, tmp_path: Path):
    moved: Import = take()
    foreign = moved.foreign
    foreign.replace_key("timestamp")
    foreign.publish()
    trusted = tmp_path / "trusted.json"
    shutil.copy(foreign.metadata / "3.root.json", trusted)
    first = foreign.metadata / "1.root.json"
    document = json.loads(first.read_text())
    for signature in document["signatures"]:
        signature["sig"] = "00" * 64
    first.write_text(json.dumps(document))
    copy = tmp_path / "copy"
    done = run("mirror", copy, "--metadata", foreign.metadata.as_uri(), "--root", trusted)
    assert done.returncode == DONE, done.stderr
    assert "devices that trust an older root can't follow" in done.stderr
    roots = sorted(path.name for path in (copy / "metadata").glob("*.root.json"))
    assert roots == ["2.root.json", "3.root.json"]
    # An import begins with it, and keeps the roots before it.
    moved.next = moved.folder / "4.root.json"
    moved.ceremony("--root", trusted)
    form = moved.form.start()
    for root in (trusted, foreign.metadata / "2.root.json"):
        device = Device({**form.endpoints, "trusted_root": str(root)}, tmp_path / root.stem)
        assert device.find(FILES) == {name: sha256(data) for name, data in FILES.items()}


def test_names_of_any_kind_are_copied(tmp_path: Path):
    foreign = FieldRepository(tmp_path / "foreign", edit=on_ci)
    files = {"für alle/☃ 1.bin": b"snow", "a b/c+d@e.bin": b"space"}
    foreign.publish(files)
    trusted = foreign.metadata / "1.root.json"
    copy = tmp_path / "copy"
    with StaticServer(foreign.folder) as server:
        command = ["mirror", copy, "--metadata", f"{server.url}metadata/", "--root", trusted]
        done = run(*command)
        assert done.returncode == DONE, done.stderr
        with StaticServer(copy) as here:
            urls = {"metadata_url": f"{here.url}metadata/", "targets_url": f"{here.url}targets/"}
            device = Device({**urls, "trusted_root": str(trusted)}, tmp_path / "device")
            for name, data in files.items():
                assert device.download_bytes(name) == data
        for name in ("100%.bin", "../up.bin"):
            foreign.contents.clear()
            foreign.contents[name] = b"x"
            foreign.publish()
            error = one_line_error(run(*command))
            assert "cannot be copied" in error and name in error


def test_holders_whose_keys_not_all_clients_read_are_named(take):
    moved: Import = take(holders=[p384()])
    moved.refused("(ecdsa ecdsa-sha2-nistp384) for its root role, which not all clients can use")
    shown = run("root", "show", moved.trusted)
    assert shown.returncode == DONE and "ECDSA P-384" in shown.stdout, shown.stderr


def test_what_does_not_verify_is_refused(take):
    """The same documents, signed by others: Tufline reads nothing less strictly than clients do."""
    moved: Import = take(edit=on_ci)
    foreign = moved.foreign
    for role in ("timestamp", "snapshot", "targets"):
        keys = foreign.keys[role]
        foreign.keys[role] = [CryptoSigner.generate_ed25519()]
        foreign.publish()
        moved.refused("of them are valid")
        foreign.keys[role] = keys
    foreign.publish(expires=in_days(-1))
    moved.refused("it expired at")
