"""Keys in people's formats. Tufline reads the files of openssl and ssh-keygen, or refuses them with
a command that converts them."""

import base64
import hashlib
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Key, Metadata, Root

from .device import sha256
from .form import DONE, one_line_error, run

PASSPHRASE = "correct horse"
# How to make a key of each kind that a root may list.
KINDS = {
    "ed25519": "openssl genpkey -algorithm ed25519 -out KEY",
    "p256": "openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out KEY",
    "rsa": "openssl genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:3072 -out KEY",
}
LEGACY = "-provider legacy -provider default"
BOM = b"\xef\xbb\xbf"


def shell(folder: Path, command: str) -> None:
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A key of each kind, with its public key beside it."""
    folder = tmp_path_factory.mktemp("keys")
    for kind, command in KINDS.items():
        shell(folder, command.replace("KEY", f"{kind}.pem"))
        shell(folder, f"openssl pkey -in {kind}.pem -pubout -out {kind}.pub")
    return folder


@pytest.fixture(scope="module")
def root(made: Path) -> bytes:
    """An unsigned root whose holders have these keys."""
    keys = [part for kind in KINDS for part in ("--key", f"{kind}={made / kind}.pub")]
    done = run("root", "init", *keys, "--threshold", 1, "--data", made / "data", "--out", made / "1.root.json")
    assert done.returncode == DONE, done.stderr
    return (made / "1.root.json").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_holders_compare_the_digest_of_a_key(made: Path, root: bytes, kind: str):
    """A key's id is the SHA-256 of its canonical JSON (TUF specification 4.2)."""
    public = made / f"{kind}.pub"
    known = load_pem_public_key(public.read_bytes())
    keys = Metadata[Root].from_bytes(root).signed.keys.values()
    [listed] = [key for key in keys if SSlibKey.from_dict(key.keyid, key.to_dict())._crypto_key() == known]
    keyid = hashlib.sha256(encode_canonical(listed.to_dict()).encode()).hexdigest()
    told = run("root", "key-id", "--key", f"{kind}={public}", "--json").stdout
    assert json.loads(told) == {"keyid": keyid, "holder": kind}
    assert keyid in [key["keyid"] for key in json.loads(run("root", "show", made / "1.root.json", "--json").stdout)["roles"]["root"]["keys"]]
    line = run("root", "key-id", "--key", f"{kind}={public}").stdout
    # In groups that people can read out, and enough digits that nobody makes another key for them.
    groups = re.fullmatch(rf"key {kind} ((?:[0-9a-f]{{4}} ){{5}}[0-9a-f]{{4}})… \(.*\)\n", line)
    assert groups and keyid.startswith(groups[1].replace(" ", ""))
    assert f"missing  {line.removeprefix('key ')}" in run("root", "show", made / "1.root.json").stdout


class Signer:
    """A person with a root and a key file."""

    def __init__(self, folder: Path, root: bytes, public: Path) -> None:
        self.folder, self.root, self.public = folder, root, public
        self.file = folder / "1.root.json"
        (folder / "passphrase").write_text(PASSPHRASE)

    def sign(self, key: Path) -> subprocess.CompletedProcess:
        self.file.write_bytes(self.root)
        return run("root", "sign", self.file, "--key", key, "--passphrase-file", self.folder / "passphrase", cwd=self.folder)

    def signs(self, key: Path) -> None:
        """Checks that this key signs, and that python-tuf verifies the signature."""
        done = self.sign(key)
        assert done.returncode == DONE, (key.read_bytes()[:80], done.stderr)
        metadata = Metadata[Root].from_file(str(self.file))
        result = metadata.signed.get_verification_result(Root.type, metadata.signed_bytes, metadata.signatures)
        [signer] = result.signed.values()
        assert is_key(signer, self.public)

    def refused(self, key: Path) -> str:
        return one_line_error(self.sign(key))


def is_key(key: Key, public: Path) -> bool:
    """Whether a root's key is the one in this file."""
    wanted = load_pem_public_key(public.read_bytes())
    if key.keytype == "ed25519":
        return key.keyval["public"] == wanted.public_bytes_raw().hex()
    return load_pem_public_key(key.keyval["public"].encode()) == wanted


@pytest.fixture
def signer(made: Path, root: bytes, tmp_path: Path) -> Callable[[str], Signer]:
    return lambda kind: Signer(tmp_path, root, made / f"{kind}.pub")


def lines_end(text: bytes, end: bytes) -> bytes:
    return text.replace(b"\n", end)


# What an editor, a mail program or a ticket system may do to a key file.
SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "mark": lambda text: BOM + text,
    "crlf": lambda text: lines_end(text, b"\r\n"),
    "mark-and-crlf": lambda text: BOM + lines_end(text, b"\r\n"),
    "cr": lambda text: lines_end(text, b"\r"),
    "no-last-line-end": lambda text: text.rstrip(),
    "blank-lines": lambda text: b"\n\n" + lines_end(text, b"\n \n"),
    "comments": lambda text: b"# of Alice: the root\nSubject=CN = Alice\n\n" + text + b"\n# that was it \xc3\xa9\n",
    "indented": lambda text: lines_end(b"  " + text, b"\n  "),
    "one-line": lambda text: lines_end(text, b" "),
}


@pytest.mark.parametrize(("kind", "spelling"), [("p256", spelling) for spelling in SPELLINGS] + [("ed25519", "mark-and-crlf"), ("rsa", "comments")])
def test_any_spelling_is_read(signer, made: Path, tmp_path: Path, kind: str, spelling: str):
    private, public = tmp_path / "key", tmp_path / "key.pub"
    private.write_bytes(SPELLINGS[spelling]((made / f"{kind}.pem").read_bytes()))
    public.write_bytes(SPELLINGS[spelling]((made / f"{kind}.pub").read_bytes()))
    signer(kind).signs(private)
    assert listed(tmp_path, public) == listed(tmp_path, made / f"{kind}.pub")


def listed(folder: Path, public: Path) -> dict:
    """The keys of a root with this holder."""
    out = folder / "listed.json"
    out.unlink(missing_ok=True)
    done = run("root", "init", "--key", public, "--threshold", 1, "--data", folder / "listed-data", "--out", out)
    assert done.returncode == DONE, done.stderr
    return json.loads(out.read_text())["signed"]["keys"]


# The files that openssl writes, with the command for each.
WRITTEN = {
    "sec1": ("p256", "openssl ec -in p256.pem -out KEY"),
    "sec1-after-its-curve": ("p256", "(openssl ecparam -name prime256v1; openssl ec -in p256.pem) > KEY"),
    "pkcs1": ("rsa", "openssl rsa -in rsa.pem -traditional -out KEY"),
    "pbkdf2": ("ed25519", "openssl pkcs8 -topk8 -in ed25519.pem -passout pass:PASS -out KEY"),
    "scrypt": ("p256", "openssl pkcs8 -topk8 -scrypt -in p256.pem -passout pass:PASS -out KEY"),
    "with-its-public-key": ("p256", "cat p256.pub p256.pem > KEY"),
    "with-text": ("rsa", "openssl pkey -in rsa.pem -text -out KEY"),
    "out-of-pkcs12": ("p256", "openssl req -x509 -new -key p256.pem -subj /CN=a -out p256.crt && openssl pkcs12 -export -inkey p256.pem -in p256.crt "
                              "-passout pass:PASS | openssl pkcs12 -nocerts -passin pass:PASS -passout pass:PASS -out KEY"),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_files_of_openssl_are_read(signer, made: Path, tmp_path: Path, form: str):
    kind, command = WRITTEN[form]
    key = tmp_path / "key"
    shell(made, command.replace("KEY", str(key)).replace("PASS", shlex.quote(PASSPHRASE)))
    signer(kind).signs(key)


# Refused files, each with a command that converts it; and what that command asks for.
ASKED = {"openssl": "-passin pass:PASS -passout pass:PASS", "ssh-keygen": "-P '' -N ''", "iconv": ""}
CONVERTED = {
    "utf-16": ("ed25519", "iconv -f UTF-8 -t UTF-16 ed25519.pem > KEY"),
    "utf-16-le": ("ed25519", "iconv -f UTF-8 -t UTF-16LE ed25519.pem > KEY"),
    "utf-16-be": ("ed25519", "iconv -f UTF-8 -t UTF-16BE ed25519.pem > KEY"),
    "der": ("ed25519", "openssl pkey -in ed25519.pem -outform DER -out KEY"),
    "der-sec1": ("p256", "openssl ec -in p256.pem -outform DER -out KEY"),
    "der-pkcs1": ("rsa", "openssl rsa -in rsa.pem -traditional -outform DER -out KEY"),
    "der-encrypted": ("p256", "openssl pkcs8 -topk8 -in p256.pem -outform DER -passout pass:PASS -out KEY"),
    "proc-type": ("p256", "openssl ec -in p256.pem -aes256 -passout pass:PASS -out KEY"),
    "proc-type-rsa": ("rsa", "openssl rsa -in rsa.pem -traditional -des3 -passout pass:PASS -out KEY"),
    "pbes1-sha1-3des": ("ed25519", "openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -in ed25519.pem -passout pass:PASS -out KEY"),
    "pbes1-md5-des": ("ed25519", f"openssl pkcs8 -topk8 -v1 PBE-MD5-DES {LEGACY} -in ed25519.pem -passout pass:PASS -out KEY"),
    "pbes2-camellia": ("p256", "openssl pkcs8 -topk8 -v2 camellia256 -in p256.pem -passout pass:PASS -out KEY"),
}


def advice(error: str, tool: str) -> list[str]:
    """The commands of this tool in a message."""
    commands = [command for command in re.findall("`([^`]*)`", error) if command.startswith(tool)]
    assert commands, error
    return commands


@pytest.mark.parametrize("form", CONVERTED)
def test_a_refused_key_comes_with_a_command_that_converts_it(signer, made: Path, tmp_path: Path, form: str):
    kind, command = CONVERTED[form]
    key, new = tmp_path / "key", tmp_path / "new"
    shell(made, command.replace("KEY", str(key)).replace("PASS", shlex.quote(PASSPHRASE)))
    error = signer(kind).refused(key)
    tool = "iconv" if form.startswith("utf") else "openssl"
    [convert, *_] = advice(error, tool)
    more = ASKED[tool].replace("PASS", shlex.quote(PASSPHRASE))
    if form == "pbes1-md5-des":
        [extra] = advice(error, "-provider")
        more += f" {extra}"
    # The options go to the place where the command has its own, as a person would type them or be
    # asked.
    first, _, rest = convert.replace("KEY", str(key)).replace("NEW", str(new)).partition(" -in ")
    shell(tmp_path, f"{first} {more} -in {rest}" if rest else first)
    signer(kind).signs(new)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
@pytest.mark.parametrize("passphrase", ["", PASSPHRASE])
def test_keys_of_ssh(made: Path, tmp_path: Path, kind: str, passphrase: str):
    bits = "-b 3072" if kind == "rsa" else "-b 256"
    shell(tmp_path, f"ssh-keygen -q -t {kind} {bits} -N {shlex.quote(passphrase)} -C 'a b' -f key")
    public = one_line_error(run("root", "init", "--key", tmp_path / "key.pub", "--threshold", 1, "--data", tmp_path / "data", "--out", tmp_path / "1.root.json"))
    [convert] = advice(public, "ssh-keygen")
    shell(tmp_path, convert.replace("KEY", "key.pub").replace("NEW", "new.pub"))
    done = run("root", "init", "--key", tmp_path / "new.pub", "--threshold", 1, "--data", tmp_path / "data", "--out", tmp_path / "1.root.json")
    assert done.returncode == DONE, done.stderr
    holder = Signer(tmp_path, (tmp_path / "1.root.json").read_bytes(), tmp_path / "new.pub")
    [convert] = advice(holder.refused(tmp_path / "key"), "ssh-keygen")
    shell(tmp_path, f"cp key copy && {convert.replace('COPY', 'copy')} -P {shlex.quote(passphrase)} -N {shlex.quote(passphrase)}")
    holder.signs(tmp_path / "copy")
    # The other format of such a public key.
    shell(tmp_path, "ssh-keygen -e -f key.pub > rfc4716.pub")
    public = one_line_error(run("root", "init", "--key", tmp_path / "rfc4716.pub", "--threshold", 1, "--data", tmp_path / "data", "--out", tmp_path / "2"))
    for convert in advice(public, "ssh-keygen"):
        shell(tmp_path, convert.replace("KEY", "rfc4716.pub").replace("NEW", "again.pub"))
    assert (tmp_path / "again.pub").read_text() == (tmp_path / "new.pub").read_text()


# Kinds that no conversion makes usable: how ssh makes one, and its name.
SSH_REFUSED = {
    "p384": ("-t ecdsa -b 384", "ECDSA P-384"),
    "p521": ("-t ecdsa -b 521", "ECDSA P-521"),
    "dsa": ("-t dsa", "DSA"),
    "rsa-1024": ("-t rsa -b 1024", "RSA of 1024 bits"),
}
ACCEPTED = "accepted are Ed25519, ECDSA P-256 and RSA of {} bits or more"


def init(folder: Path, key: Path) -> subprocess.CompletedProcess:
    return run("root", "init", "--key", key, "--threshold", 1, "--data", folder / "data", "--out", folder / "refused.json")


def is_refused_for_its_kind(error: str, kind: str, bits: int) -> None:
    """Checks that the key is refused at once, and that the message suggests nothing that would end
    in the same refusal."""
    assert f"a key of {kind}; " in error and ACCEPTED.format(bits) in error, error
    assert not re.search("ssh-keygen|openssl|convert", error), error


@pytest.mark.parametrize("form", SSH_REFUSED)
def test_keys_of_ssh_are_refused_for_their_kind_at_once(signer, tmp_path: Path, form: str):
    how, kind = SSH_REFUSED[form]
    for passphrase in ("", PASSPHRASE):
        name = f"key{len(passphrase)}"
        shell(tmp_path, f"ssh-keygen -q {how} -N {shlex.quote(passphrase)} -f {name} && ssh-keygen -e -f {name}.pub > {name}.rfc4716")
        for file in (f"{name}.pub", f"{name}.rfc4716"):
            is_refused_for_its_kind(one_line_error(init(tmp_path, tmp_path / file)), kind, 3072)
        for file in (name, f"{name}.pub", f"{name}.rfc4716"):
            is_refused_for_its_kind(signer("p256").refused(tmp_path / file), kind, 2048)


def test_a_small_rsa_key_of_ssh_signs_where_others_listed_it(signer, tmp_path: Path):
    shell(tmp_path, "ssh-keygen -q -t rsa -b 2048 -N '' -f key")
    is_refused_for_its_kind(one_line_error(init(tmp_path, tmp_path / "key.pub")), "RSA of 2048 bits", 3072)
    assert advice(signer("rsa").refused(tmp_path / "key"), "ssh-keygen")
    shell(tmp_path, "openssl genrsa 2048 | openssl rsa -pubout > known.pub")
    told = run("root", "key-id", "--key", tmp_path / "known.pub")
    assert told.returncode == DONE and told.stdout.startswith("key "), told


@pytest.mark.parametrize("kind", ["rsa -b 3072", "ecdsa -b 256", "ed25519"])
def test_the_public_half_of_an_ssh_key_signs_nothing(signer, tmp_path: Path, kind: str):
    """A conversion would again make a public key."""
    shell(tmp_path, f"ssh-keygen -q -t {kind} -N '' -f key && ssh-keygen -e -f key.pub > key.rfc4716")
    shell(tmp_path, "ssh-keygen -q -t ed25519 -N '' -f ca && ssh-keygen -q -s ca -I a -n b key.pub")
    for file in ("key.pub", "key.rfc4716"):
        error = signer("p256").refused(tmp_path / file)
        assert "it is the public half of an ssh key: give the private one, in the file of the same name without .pub" in error, error
        assert "ssh-keygen" not in error, error
    error = signer("p256").refused(tmp_path / "key-cert.pub")
    assert "it is an ssh certificate: give the private key that it certifies, in the file of the same name without -cert.pub" in error, error
    error = one_line_error(init(tmp_path, tmp_path / "key-cert.pub"))
    assert "it is an ssh certificate: give the public key that it certifies, in the file of the same name without -cert," in error, error


@pytest.mark.parametrize("name", ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"])
def test_security_keys_are_for_ssh_only(signer, tmp_path: Path, name: str):
    """In the format of OpenSSH's PROTOCOL.u2f. ssh-keygen makes one only with a security key at
    hand, but reads these."""
    parts = [name.encode(), b"\4" * 65, b"ssh:"] if "ecdsa" in name else [name.encode(), b"\1" * 32, b"ssh:"]
    if "ecdsa" in name:
        point = load_pem_public_key(subprocess.run(["bash", "-c", "openssl ecparam -name prime256v1 -genkey -noout | openssl ec -pubout"], capture_output=True).stdout)
        numbers = point.public_numbers()
        parts[1:2] = [b"nistp256", b"\4" + numbers.x.to_bytes(32) + numbers.y.to_bytes(32)]
    blob = b"".join(len(part).to_bytes(4) + part for part in parts)
    (tmp_path / "key.pub").write_text(f"{name} {base64.b64encode(blob).decode()} a@b\n")
    shell(tmp_path, "ssh-keygen -l -f key.pub")
    kind = "a security key (FIDO), which signs for ssh only"
    is_refused_for_its_kind(one_line_error(init(tmp_path, tmp_path / "key.pub")), kind, 3072)
    is_refused_for_its_kind(signer("p256").refused(tmp_path / "key.pub"), kind, 2048)


def test_ssh_converts_no_ed25519_and_that_is_said(signer, tmp_path: Path):
    shell(tmp_path, "ssh-keygen -q -t ed25519 -N '' -f key && ssh-keygen -e -f key.pub > key.rfc4716")
    for error in (
        signer("p256").refused(tmp_path / "key"),
        one_line_error(init(tmp_path, tmp_path / "key.rfc4716")),
        one_line_error(run("root", "init", "--key", tmp_path / "key.pub", "--threshold", 1, "--data", tmp_path / "data", "--out", tmp_path / "1")),
    ):
        assert "Ed25519" in error and "tufline root keygen" in error, error


REFUSED = {
    "two-keys": ("cat p256.pem ed25519.pem > KEY", "PRIVATE KEY and PRIVATE KEY"),
    "another-public-key": ("cat p256.pem ed25519.pub > KEY", "belongs to another key"),
    "a-certificate-too": ("openssl req -x509 -new -key p256.pem -subj /CN=a > KEY; cat p256.pem >> KEY", "CERTIFICATE and PRIVATE KEY"),
    "public": ("cp p256.pub KEY", "give the private key"),
    "certificate": ("openssl req -x509 -new -key p256.pem -subj /CN=a > KEY", "give the private key"),
    "p384": ("openssl ecparam -name secp384r1 -genkey > KEY", "a key of ECDSA P-384"),
    "p384-pkcs8": ("openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-384 -out KEY", "a key of ECDSA P-384"),
    "rsa-1024": ("openssl genrsa -traditional -out KEY 1024", "2048 bits or more"),
    "cut-off": ("head -c 100 p256.pem > KEY", "cut off"),
    "damaged": ("sed '2s/./*/' p256.pem > KEY", "not Base64"),
    "dsa": ("openssl dsaparam -genkey -noout 1024 | openssl pkcs8 -topk8 -nocrypt > KEY", "a key of DSA"),
    "empty": (": > KEY", "it is empty"),
    "putty": ("echo 'PuTTY-User-Key-File-3: ssh-ed25519' > KEY", "PuTTY"),
    "binary": ("head -c 1000 /dev/zero > KEY", "no PEM"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_a_file_that_cannot_sign_is_named_by_its_kind(signer, made: Path, tmp_path: Path, form: str):
    command, why = REFUSED[form]
    shell(made, command.replace("KEY", str(tmp_path / "key")))
    assert why in signer("p256").refused(tmp_path / "key")


PUBLIC_REFUSED = {
    "two-keys": ("cat p256.pub ed25519.pub > KEY", "PUBLIC KEY and PUBLIC KEY", None),
    "with-its-private-key": ("cat p256.pub p256.pem > KEY", "private key", None),
    "private": ("cp p256.pem KEY", "private key", None),
    "private-ssh": ("ssh-keygen -q -t rsa -N '' -f KEY", "private key", None),
    "private-json": ("""echo '{"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00", "private": "11"}}' > KEY""", "private key", None),
    "certificate": ("openssl req -x509 -new -key p256.pem -subj /CN=a > KEY", "CERTIFICATE", "p256"),
    "pkcs1": ("openssl rsa -in rsa.pem -RSAPublicKey_out > KEY", "PKCS#1", "rsa"),
    "der": ("openssl pkey -pubin -in ed25519.pub -pubout -outform DER -out KEY", "DER", "ed25519"),
    "compressed": ("openssl ec -in p256.pem -pubout -conv_form compressed -out KEY", "uncompressed", "p256"),
    "utf-16": ("iconv -f UTF-8 -t UTF-16 p256.pub > KEY", "UTF-16", "p256"),
    "rsa-2048": ("openssl genrsa 2048 | openssl rsa -pubout > KEY", "a key of RSA of 2048 bits", None),
    "p384": ("openssl ecparam -name secp384r1 -genkey | openssl ec -pubout > KEY", "a key of ECDSA P-384", None),
    # The message doesn't ask for the public half first.
    "private-p384": ("openssl ecparam -name secp384r1 -genkey > KEY", "a key of ECDSA P-384", None),
    "private-rsa-2048": ("openssl genrsa -traditional -out KEY 2048", "a key of RSA of 2048 bits", None),
    "private-ed448": ("openssl genpkey -algorithm ed448 -out KEY", "a key of Ed448", None),
}


@pytest.mark.parametrize("form", PUBLIC_REFUSED)
def test_public_keys_that_are_refused(made: Path, tmp_path: Path, form: str):
    command, why, kind = PUBLIC_REFUSED[form]
    key, new = tmp_path / "key", tmp_path / "new"
    shell(made, command.replace("KEY", str(key)))
    error = one_line_error(run("root", "init", "--key", key, "--threshold", 1, "--data", tmp_path / "data", "--out", tmp_path / "1.root.json"))
    assert why in error, error
    if kind is not None:
        convert = advice(error, "iconv" if form == "utf-16" else "openssl")
        convert = next((command for command in convert if "-pubin" in command), convert[0])
        shell(tmp_path, convert.replace("KEY", str(key)).replace("NEW", str(new)))
        assert listed(tmp_path, new) == listed(tmp_path, made / f"{kind}.pub")


def test_private_keys_are_refused_as_public_ones(made: Path, root: bytes, tmp_path: Path):
    """`root add-key` reads keys as `root init` does."""
    file = tmp_path / "1.root.json"
    file.write_bytes(root)
    before = sha256(root)
    assert "private key" in one_line_error(run("root", "add-key", file, "--key", made / "p256.pem"))
    assert sha256(file.read_bytes()) == before


# Files with a key of a refused kind, in a form that is refused too.
HIDDEN = {
    "certificate-p384": ("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout x -subj /CN=a > KEY", "ECDSA P-384"),
    "certificate-rsa-1024": ("openssl req -x509 -newkey rsa:1024 -nodes -keyout x -subj /CN=a > KEY", "RSA of 1024 bits"),
    "der-p521": ("openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-521 | openssl pkey -pubout -outform DER -out KEY", "ECDSA P-521"),
    "der-ed448": ("openssl genpkey -algorithm ed448 | openssl pkey -pubout -outform DER -out KEY", "Ed448"),
    "der-secp256k1": ("openssl ecparam -name secp256k1 -genkey | openssl ec -pubout -outform DER -out KEY", "ECDSA secp256k1"),
    "der-rsa-1024": ("openssl genrsa 1024 | openssl rsa -pubout -outform DER -out KEY", "RSA of 1024 bits"),
    "pkcs1-1024": ("openssl genrsa 1024 | openssl rsa -RSAPublicKey_out > KEY", "RSA of 1024 bits"),
}


@pytest.mark.parametrize("form", HIDDEN)
def test_a_refused_kind_is_told_whatever_its_form(signer, tmp_path: Path, form: str):
    command, kind = HIDDEN[form]
    shell(tmp_path, command.replace("KEY", "key"))
    is_refused_for_its_kind(one_line_error(init(tmp_path, tmp_path / "key")), kind, 3072)
    is_refused_for_its_kind(signer("p256").refused(tmp_path / "key"), kind, 2048)
