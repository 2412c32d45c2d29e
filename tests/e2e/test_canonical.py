"""No document reads differently in different clients. All clients verify what this repository
accepts, and the documents made from it. What it refuses, they don't read alike."""

import json
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata
from tuf.api.serialization.json import CanonicalJSONSerializer

from . import go_tuf
from .device import sha256
from .documents import Documents
from .form import REJECTED, TUFLINE, json_lines
from .polling import until

# This repository's program that answers for Tufline and for tough.
ALIKE = TUFLINE.parent / "examples" / "alike"
FORMS = Path(__file__).resolve().parent / "tuf-js" / "forms.mjs"
GO_TUF = Path(__file__).resolve().parent / "go-tuf"
SEED = 13


@dataclass(frozen=True)
class Read:
    """How a client reads a file."""

    # The canonical form, in hexadecimal.
    form: str
    # What it says about keys and targets, as JSON.
    says: str
    verifies: bool

    @classmethod
    def of(cls, answer: dict | None) -> "Read | None":
        return answer and cls(answer["form"], json.dumps(answer["says"], sort_keys=True), answer["verifies"])


@dataclass(frozen=True)
class File:
    """A document with its signature."""

    kind: str
    signed: str
    signature: bytes
    key: CryptoSigner

    @property
    def text(self) -> str:
        signatures = [{"keyid": self.key.public_key.keyid, "sig": self.signature.hex()}]
        return f'{{"signatures":{json.dumps(signatures)},"signed":{self.signed}}}'


class Clients:
    """All clients, and this repository, which read many files at once."""

    def __init__(self, trusted: str) -> None:
        self.trusted = trusted

    def ours_and_tough(self, files: list[File]) -> list[tuple[dict, Read | None]]:
        answers = ask([str(ALIKE)], [{"ask": "file", **self._question(file)} for file in files])
        return [(answer, Read.of(answer["tough"])) for answer in answers]

    def others(self, files: list[File]) -> list[dict[str, Read | None]]:
        of_tuf_js = ask(["node", str(FORMS)], [self._question(file) for file in files])
        return [
            {"python-tuf": self._python_tuf(file), "tuf-js": Read.of(answer), "go-tuf's rule": self._go_tuf(file)}
            for file, answer in zip(files, of_tuf_js, strict=True)
        ]

    def all(self, files: list[File]) -> list[tuple[dict, dict[str, Read | None]]]:
        """Our verdict on each file, and how the clients read it."""
        together = zip(self.ours_and_tough(files), self.others(files), strict=True)
        return [(ours, {"tough": tough, **others}) for (ours, tough), others in together]

    def _question(self, file: File) -> dict:
        return {"kind": file.kind, "text": file.text, "trusted": self.trusted}

    def _python_tuf(self, file: File) -> Read | None:
        try:
            document = Metadata.from_bytes(file.text.encode())
            form = CanonicalJSONSerializer().serialize(document.signed)
        except Exception:
            return None
        judges = [Metadata.from_bytes(self.trusted.encode()).signed, *([document.signed] if file.kind == "root" else [])]

        def verifies(judge) -> bool:
            try:
                judge.verify_delegate(file.kind, form, document.signatures)
                return True
            except Exception:
                return False

        says = json.dumps(says_root(document.signed) if file.kind == "root" else says_targets(document.signed), sort_keys=True)
        return Read(form.hex(), says, all(map(verifies, judges)))

    def _go_tuf(self, file: File) -> Read | None:
        """By go-tuf's rule: the canonical form contains exactly what it reads."""
        try:
            form = go_tuf.form(file.kind, file.text)
        except (go_tuf.Unreadable, KeyError):
            return None
        signed = json.loads(form, strict=False)
        if file.kind == "root":
            says = {"keys": {role: len({*entry["keyids"]} & signed["keys"].keys()) for role, entry in signed["roles"].items()}}
        else:
            below = signed.get("delegations", {"roles": [], "keys": {}})
            known = lambda role: sum(keyid in below["keys"] for keyid in role["keyids"])
            digests = {name: target["hashes"].get("sha256") for name, target in signed["targets"].items()}
            says = {"digests": digests, "roles": [[role["name"], known(role)] for role in below["roles"]]}
        try:
            file.key.public_key._crypto_key().verify(file.signature, form)
            verifies = True
        except Exception:
            verifies = False
        return Read(form.hex(), json.dumps(says, sort_keys=True), verifies)


def says_root(root) -> dict:
    return {"keys": {name: sum(keyid in root.keys for keyid in role.keyids) for name, role in root.roles.items()}}


def says_targets(targets) -> dict:
    digests = {name: target.hashes["sha256"] for name, target in targets.targets.items()}
    roles = targets.delegations.roles.values() if targets.delegations else []
    return {"digests": digests, "roles": [[role.name, sum(id in targets.delegations.keys for id in role.keyids)] for role in roles]}


def ask(program: list[str], questions: list[dict]) -> list[dict | None]:
    # A lone half of a surrogate pair is escaped, like everything else outside ASCII.
    lines = "\n".join(map(json.dumps, questions))
    done = subprocess.run(program, input=lines, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.rstrip("\n").split("\n")]
    assert len(answers) == len(questions)
    return answers


def are_alike(read: dict[str, Read | None]) -> bool:
    """Whether all clients read it alike, regardless of signatures."""
    return None not in read.values() and len({(one.form, one.says) for one in read.values()}) == 1


@pytest.fixture(scope="module")
def documents() -> Documents:
    assert ALIKE.exists(), f"{ALIKE} is missing: build the examples of tufline-tuf beside tufline, with `cargo build -p tufline-tuf --examples`"
    return Documents(SEED)


@pytest.fixture(scope="module")
def clients(documents: Documents) -> Clients:
    signed = documents.text(documents.plain_root(1))
    signature = documents.root_key._private_key.sign(encode_canonical(json.loads(signed)).encode())
    return Clients(File("root", signed, signature, documents.root_key).text)


def sign(kind: str, key: CryptoSigner, signed: str, form: bytes) -> File:
    return File(kind, signed, key._private_key.sign(form), key)


def report(what: str, counts: Counter) -> None:
    print(f"\n{what}: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


def as_python_writes_it(signed: str) -> bytes:
    """The bytes that most tools sign; empty if Python can't write them."""
    try:
        return encode_canonical(json.loads(signed)).encode()
    except Exception:
        return b""


@pytest.mark.parametrize(("kind", "number"), [("root", 600), ("targets", 600)])
def test_files_of_others(documents: Documents, clients: Clients, kind: str, number: int):
    """Files signed by others in python-tuf's format, which devices get unchanged: all clients
    verify those that we accept, and don't read alike those that we refuse. And the same documents
    signed and written by us, where we sign such documents."""
    key = documents.root_key if kind == "root" else documents.online_key
    texts = [documents.root() if kind == "root" else documents.targets() for _ in range(number)]
    files = [sign(kind, key, text, as_python_writes_it(text)) for text in texts]
    counts, ours = Counter(generated=number), []
    for file, (answer, read) in zip(files, clients.all(files), strict=True):
        if why := answer.get("refused"):
            counts["refused"] += 1
            # Of two fields that differ only in case, go-tuf keeps the last: so their order decides,
            # which other tools don't preserve.
            counts["refused for go-tuf's fields"] += (is_a_field := "go-tuf takes" in why)
            assert is_a_field or not are_alike(read), f"refused, and all clients read it alike: {why}: {file.signed}"
            assert why.isprintable(), why
            continue
        counts["accepted"] += 1
        assert {one and one.form for one in read.values()} == {answer["form"]}, (file.signed, answer, read)
        assert are_alike(read), (file.signed, read)
        assert answer["verifies"] and all(one.verifies for one in read.values()), (file.signed, answer, read)
        counts |= {f"verified by {client}": counts[f"verified by {client}"] + 1 for client in read}
        ours.append(sign(kind, key, answer["written"], bytes.fromhex(answer["form"])))
    for file, (answer, read) in zip(ours, clients.all(ours), strict=True):
        assert answer["verifies"] and are_alike(read) and all(one.verifies for one in read.values()), (file.signed, answer, read)
    report(kind, counts)
    assert min(counts["accepted"], counts["refused"]) > number // 5, "neither side is tried"


def test_go_tuf_follows_the_rule_that_stands_in_for_it(documents: Documents, tmp_path: Path):
    """Runs only with Go and its modules at hand."""
    if not (go := shutil.which("go")):
        pytest.skip("there is no Go here: go-tuf's rule, as its source says it, stands in for it (go_tuf.py)")
    program = tmp_path / "forms"
    shutil.copytree(GO_TUF, tmp_path / "source")
    built = subprocess.run([go, "build", "-mod=mod", "-o", program, "."], cwd=tmp_path / "source", capture_output=True, text=True)
    if built.returncode != 0:
        pytest.skip(f"Go cannot build it here: {built.stderr.strip().splitlines()[-1]}")
    files = [("root", documents.root()) if number % 2 else ("targets", documents.targets()) for number in range(1000)]
    questions = [{"kind": kind, "text": f'{{"signatures":[],"signed":{text}}}'} for kind, text in files]
    differ = 0
    for question, answer in zip(questions, ask([str(program)], questions), strict=True):
        try:
            expected = go_tuf.form(**question).hex()
        except go_tuf.Unreadable:
            expected = None
        assert answer == expected, question
        differ += answer is None
    print(f"\ngo-tuf: {len(files)} generated, {differ} not read")


# Refused although clients don't differ: the intention is unclear, or a manifest couldn't hold the
# value.
OF_THE_UPLOAD = ("occurs twice", "is not a JSON object")


def test_custom_metadata(documents: Documents, clients: Clients):
    """Custom metadata of uploads: all clients verify a document with what we accept, and would not
    verify one with what we refuse."""
    texts = [documents.custom() for _ in range(800)]
    answers = ask([str(ALIKE)], [{"ask": "custom", "text": text} for text in texts])
    plain = json.dumps(documents.plain_targets())

    def document(custom: str) -> str:
        return plain.replace('"length": 3', f'"length": 3, "custom": {custom}', 1)

    counts = Counter(generated=len(texts))
    taken = [document(answer["written"]) for answer in answers if answer.get("written", "{}") != "{}"]
    counts["accepted"] = len(taken)
    files = [sign("targets", documents.online_key, text, as_python_writes_it(text)) for text in taken]
    for file, (answer, read) in zip(files, clients.all(files), strict=True):
        assert answer.get("verifies") and are_alike(read) and all(one.verifies for one in read.values()), (file.signed, answer, read)
        counts |= {f"verified by {client}": counts[f"verified by {client}"] + 1 for client in read}
    refused = [(text, answer["refused"]) for text, answer in zip(texts, answers, strict=True) if "refused" in answer]
    counts["refused"] = len(refused)
    differ = [(document(text), why) for text, why in refused if not any(reason in why for reason in OF_THE_UPLOAD)]
    files = [sign("targets", documents.online_key, text, b"") for text, _ in differ]
    for file, (_, why), (_, read) in zip(files, differ, clients.all(files), strict=True):
        assert not are_alike(read), f"refused, and all clients read it alike: {why}: {file.signed}"
        assert why.isprintable(), why
    report("custom", counts)
    assert min(counts["accepted"], len(differ)) > len(texts) // 5, "neither side is tried"


# Cases from the field: each hid everything listed beside it from some clients. With the required
# message.
HIDING = {
    '{"a":1,"a b":2}': '"a b"',
    '{"a":1,"a!":2}': '"a!"',
    '{"a":{"k":1,"k!":2}}': '"k!"',
    '{"\\"":1,"A":2}': '"A"',
    '{"\uff5a":1,"\U0001f600":2}': "\U0001f600",
    '{"size":9007199254740993}': "size",
}


def test_an_upload_that_would_hide_others_is_refused(folder):
    names = {f"bad-{number}": custom for number, custom in enumerate(HIDING)}
    for name, custom in names.items():
        folder.put(name, b"bad", custom)
    folder.put("good", b"good", '{"a":1,"b b":2,"é":"\\n"}')
    folder.wait_published({"good": sha256(b"good")})
    for name, custom in names.items():
        done = folder.tufline("wait", name, "--json", "--timeout", 30)
        (line,) = json_lines(done)
        assert (done.returncode, line["outcome"]) == (REJECTED, "rejected"), line
        assert HIDING[custom] in line["reason"] and ("rename" in line["reason"] or "write it as a string" in line["reason"]), line
        done = folder.tufline("upload", folder.path(name), "--name", "early", "--custom", custom)
        assert done.returncode == REJECTED and HIDING[custom] in done.stderr, done.stderr
    expected = {"good": sha256(b"good"), **dict.fromkeys(names)}
    assert folder.device().find(expected) == expected
    assert folder.tuf_js_device().find(expected) == expected
    folder.wait_tough("good", sha256(b"good"))
    assert folder.device().custom("good") == {"a": 1, "b b": 2, "é": "\n"}


def test_a_root_that_would_leave_devices_behind_is_refused(folder_ceremony):
    ceremony = folder_ceremony
    ceremony.first()
    ceremony.done("next", *ceremony.place)
    path = ceremony.folder / "2.root.json"
    good = path.read_text()

    def spoiled(change) -> None:
        text = json.loads(good)
        change(text["signed"])
        path.write_text(json.dumps(text))

    people = ceremony.alice.key, ceremony.alice.signing
    bad = {
        "x-ticket": lambda root: root.update({"x-ticket": {"a": 1, "a b": 2}}),
        "x-ticket 2": lambda root: root.update({"x-ticket": 1, "x-ticket 2": 2}),
        "x-note": lambda root: root.update({"x-note": "e\u0301"}),
        "x-size": lambda root: root.update({"x-size": 1.5}),
        "spec_version": lambda root: root.update({"spec_version": "1.0.0-rc"}),
        "roles.targets.keyids": lambda root: root["roles"]["targets"].update(keyids=[root["roles"]["targets"]["keyids"][0].upper()]),
        "VERSION": lambda root: root.update({"VERSION": 7}),
    }
    for field, change in bad.items():
        spoiled(change)
        ceremony.refused("sign", "2.root.json", *people[1], why=field)
        ceremony.refused("show", "2.root.json", why=field)
        ceremony.refused("publish", "2.root.json", *ceremony.place, why=field)
        ceremony.refused("merge", "2.root.json", "2.root.json", why=field)
    spoiled(lambda root: root.update({"x-ticket": {"b": 2, "a": "é"}, "x-ticket-2": 2}))
    ceremony.sign("2.root.json", ceremony.alice, ceremony.bob)
    ceremony.publish("2.root.json")
    ceremony.form.put("a", b"a")
    ceremony.form.wait_published({"a": sha256(b"a")})
    device = ceremony.form.device()
    assert device.update()._trusted_set.root.version == 2
    assert ceremony.form.tuf_js_device().find(["a"]) == {"a": sha256(b"a")}
    ceremony.form.wait_tough("a", sha256(b"a"))


