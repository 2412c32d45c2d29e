"""Root keys in PKCS#11 tokens, with SoftHSM2: signing, publishing, reading by real clients; and
refusals."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from tuf.api.metadata import Metadata, Root

from .ceremony import Ceremony, FolderCeremony
from .device import sha256
from .holders import Holder

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "123456"


class TokenHolder(Holder):
    """A holder with a key in their own token, made by pkcs11-tool."""

    def __init__(self, name: str, folder: Path, kind: str) -> None:
        self.name = name
        self.label = f"{name}'s token"
        self.passphrase_file = folder / f"{name}.pin"
        self.passphrase_file.write_text(f"{PIN}\n")
        new_token(self.label)
        new_key(self.label, kind, "root", 1)

    @property
    def key(self) -> list[object]:
        return ["--pkcs11-key", f"{self.name}={uri(self.label, object='root')}"]

    @property
    def signing(self) -> list[object]:
        return ["--pkcs11-key", uri(self.label, object="root"), "--passphrase-file", self.passphrase_file]


def uri(token: str, module: str = MODULE, **key: str) -> str:
    return f"pkcs11:token={quote(token)};" + ";".join(f"{name}={value}" for name, value in key.items()) + f"?module-path={module}"


def new_token(label: str) -> None:
    done("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "12345678")


def new_key(token: str, kind: str, label: str, number: int, *options: str) -> None:
    tool = ["pkcs11-tool", "--module", MODULE, "--token-label", token, "--login", "--pin", PIN]
    done(*tool, "--keypairgen", "--key-type", kind, "--label", label, "--id", f"{number:02x}", *options)


def done(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.fixture(autouse=True)
def softhsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens for this test only."""
    tokens, configuration = tmp_path / "tokens", tmp_path / "softhsm2.conf"
    tokens.mkdir()
    configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    monkeypatch.setitem(os.environ, "SOFTHSM2_CONF", str(configuration))


@pytest.fixture
def ceremony(softhsm, make_folder, tmp_path: Path) -> Ceremony:
    table = tmp_path / "table"
    table.mkdir()
    return FolderCeremony(table, make_folder())


@pytest.mark.parametrize("kind", ["EC:secp256r1", "EC:edwards25519", "rsa:3072"])
def test_two_of_three_with_a_key_in_a_token(ceremony: Ceremony, kind: str):
    carol = TokenHolder("carol", ceremony.folder, kind)
    people = [ceremony.alice, ceremony.bob, carol]
    ceremony.done("init", *[argument for person in people for argument in person.key], "--threshold", 2, *ceremony.place)
    ceremony.sign("1.root.json", carol)
    ceremony.refused("publish", "1.root.json", *ceremony.place, why="1 more needed")
    ceremony.sign("1.root.json", ceremony.alice)
    metadata = Metadata[Root].from_file(str(ceremony.folder / "1.root.json"))
    metadata.signed.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    keyid = json.loads(ceremony.done("key-id", *carol.key, "--json"))["keyid"]
    assert keyid in metadata.signed.roles["root"].keyids
    digits = ceremony.done("key-id", *carol.key).removeprefix("key ").strip()
    assert f"signed   {digits}" in ceremony.done("show", "1.root.json")
    ceremony.publish("1.root.json")
    ceremony.begin()
    form, device = ceremony.form, ceremony.form.device()
    form.put("a", b"1")
    form.wait_published({"a": sha256(b"1")}, device=device)

    # Another token comes, and the first signs the change.
    dave = TokenHolder("dave", ceremony.folder, "EC:secp256r1")
    ceremony.done("next", *ceremony.place)
    ceremony.done("add-key", "2.root.json", *dave.key)
    ceremony.done("remove-key", "2.root.json", "bob")
    ceremony.sign("2.root.json", carol, ceremony.alice)
    ceremony.publish("2.root.json")
    ceremony.done("next", *ceremony.place)
    ceremony.sign("3.root.json", carol, dave)
    ceremony.publish("3.root.json")
    assert device.update()._trusted_set.root.version == 3
    assert form.tuf_js_device().find(["a"]) == {"a": sha256(b"1")}
    form.wait_tough("a", sha256(b"1"))


def test_many_signatures_of_one_key_all_verify(ceremony: Ceremony):
    carol = TokenHolder("carol", ceremony.folder, "EC:secp256r1")
    ceremony.done("init", *carol.key, "--threshold", 1, *ceremony.place)
    # Numbers with leading zeros or the highest bit set occur often enough.
    for _ in range(30):
        ceremony.sign("1.root.json", carol)
        metadata = Metadata[Root].from_file(str(ceremony.folder / "1.root.json"))
        metadata.signed.verify_delegate("root", metadata.signed_bytes, metadata.signatures)


def test_what_is_refused(ceremony: Ceremony):
    carol = TokenHolder("carol", ceremony.folder, "EC:secp256r1")
    token, pin = carol.label, ["--passphrase-file", carol.passphrase_file]
    ceremony.done("init", *carol.key, *ceremony.alice.key, "--threshold", 1, *ceremony.place)

    def refused(given: str, why: str) -> None:
        ceremony.refused("sign", "1.root.json", "--pkcs11-key", given, *pin, why=why)
        ceremony.refused("add-key", "1.root.json", "--pkcs11-key", given, why=why)

    # A missing module, token or key.
    refused(uri(token, "/nowhere.so", object="root"), "cannot load the PKCS#11 module /nowhere.so")
    refused(uri(token, shutil.which("pkcs11-tool"), object="root"), "cannot load the PKCS#11 module")
    refused(uri("dave", object="root"), f"no token matches token 'dave'; there is '{token}'")
    refused(uri(token, object="other"), "shows no public key with label 'other'")
    refused(uri(token, object="root", id="%02"), "shows no public key with label 'root' and id %02")
    refused("carol.pem", "does not begin with pkcs11:")
    refused(uri(token, object="root") + f"&pin-value={PIN}", "the PIN does not belong in it")

    # A kind of key that not all clients verify.
    new_key(token, "EC:secp384r1", "secp384r1", 2)
    refused(uri(token, object="secp384r1"), "another curve than P-256")
    # It may stay a holder's key in another tool's root, but may not enter a new one.
    new_key(token, "rsa:2048", "rsa", 3)
    ceremony.refused("add-key", "1.root.json", "--pkcs11-key", uri(token, object="rsa"), why="2048 bits; 3072 are the least")
    ceremony.refused("sign", "1.root.json", "--pkcs11-key", uri(token, object="rsa"), *pin, why="its signature would not count")

    # Two keys with that label; each can be named by its id.
    new_key(token, "EC:secp256r1", "root", 9)
    refused(uri(token, object="root"), "has 2 public keys with label 'root': name one by its id=")
    ceremony.refused("sign", "1.root.json", "--pkcs11-key", uri(token, object="root", id="%09"), *pin, why="its signature would not count")
    ceremony.done("sign", "1.root.json", "--pkcs11-key", uri(token, id="%01"), *pin)

    # A key that needs its PIN each time; half of a key pair.
    new_key(token, "EC:secp256r1", "always", 10, "--always-auth")
    always = ["--pkcs11-key", uri(token, object="always")]
    ceremony.refused("sign", "1.root.json", *always, *pin, why="requires the PIN before every signature")
    tool = ["pkcs11-tool", "--module", MODULE, "--token-label", token, "--login", "--pin", PIN]
    done(*tool, "--delete-object", "--type", "privkey", "--id", "09")
    half = ["--pkcs11-key", uri(token, id="%09")]
    ceremony.refused("sign", "1.root.json", *half, *pin, why="shows no private key with id %09")

    # A wrong PIN, and no PIN.
    for wrong in ("654321", "1"):
        (ceremony.folder / "wrong").write_text(f"{wrong}\n")
        sign = ["sign", "1.root.json", "--pkcs11-key", uri(token, id="%01"), "--passphrase-file", "wrong"]
        ceremony.refused(*sign, why=f"wrong PIN for token '{token}': it locks after a few wrong PINs")
    ceremony.refused("sign", "1.root.json", "--pkcs11-key", uri(token, id="%01"), why="no terminal", start_new_session=True)

    # Two tokens with that label.
    new_token(token)
    refused(uri(token, id="%01"), "2 tokens match token 'carol's token': name one by its serial=")
