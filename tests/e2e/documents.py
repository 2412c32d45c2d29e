"""Documents, some of which clients read differently. Every field may contain what readers and
writers of JSON are known to treat differently."""

import copy
import hashlib
import json
import random
from collections.abc import Callable

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner

KEYS = [
    "", "a", "a b", "a!", "a#", 'a"', "a\\", "a]", "A", "Z", "[", " ", "!", '"', "#", "\\", "\x00", "\x01", "\n", "\x1f", "\x7f", "\x85",
    "é", "e\u0301", "\u0301", "\u1e9b\u0323", "가", "\u1100\u1161", "\ud7ff", "\ue000", "\uff5a", "\ufffd", "\uffff", "\U00010000", "\U0001f600",
    "\u2028", "\u2029", "<b>&", "10", "9", "-1", "1e3", "__proto__", "constructor", "toString", "length", "hasOwnProperty", "x-ticket", "x-ticket 2",
]  # fmt: skip
STRINGS = [*KEYS, "plain", "2030-01-01T00:00:00Z", "a\tb", "\\n", "null", "\ud800", "a\udfffb", "e\\\u0301"]
NUMBERS = [
    "0", "1", "-1", "7", "-0", "1.0", "1.5", "-2.50", "1e2", "1E-7", "1e400", "0.1", "9007199254740991", "9007199254740992", "9007199254740993",
    "-9007199254740993", "9007199254740994", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551615",
    "18446744073709551616", "1152921504606846976", "1000000000000000000", "10000000000000000000", "1000000000000000000000", "123456789012345678901234567890",
]  # fmt: skip
# Variants of known fields that some readers would take for these fields.
OTHER_CASE = ["Version", "VERSION", "verſion", "Expires", "Keys", "\u212aeys", "Roles", "Length", "Custom", "Hashes", "hasheſ", "Threshold", "Keyids", "_Type"]
SPEC_VERSIONS = ["1.0.31", "1.0", "1.2.3", "1", "1.x", "1.0.0-rc", "2.0.0", "1.0.0.0", "1..0", "01.0.0"]
EXPIRES = ["2040-01-01T00:00:00Z", "2040-01-01T00:00:00+00:00", "2040-01-01T00:00:00.000Z", "2040-01-01T00:00:00.5Z"]


class Raw(str):
    """A literal piece of JSON."""


class Pairs(list):
    """An object that may contain a key twice."""


class Documents:
    """A generator of documents; the same seed gives the same documents."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        # The share of characters that are escaped without need. Go rejects some escapes.
        self.escapes = 0.0
        self.root_key = CryptoSigner.generate_ed25519()
        self.online_key = CryptoSigner.generate_ed25519()

    # Documents, as text

    def root(self) -> str:
        """Version 2 of a root, with the same signers as version 1."""
        self.escapes = self.chance.choice([0, 0, 0, 0, 0.02])
        document = self.plain_root(2)
        for _ in range(self.chance.choice([0, 1, 1, 1, 2])):
            self.chance.choice([self._spoil_root, self._extra_in_root, self._extra_in_root, self._extra_in_key, self._spoil_ids])(document)
        return self.text(document)

    def targets(self) -> str:
        """A document of the targets role."""
        self.escapes = self.chance.choice([0, 0, 0, 0, 0.02])
        document = self.plain_targets()
        for _ in range(self.chance.choice([0, 1, 1, 1, 2])):
            self.chance.choice([self._spoil_targets, self._extra_in_targets, self._extra_in_targets, self._spoil_delegations])(document)
        return self.text(document)

    def custom(self) -> str:
        """Custom metadata."""
        self.escapes = self.chance.choice([0, 0.1])
        # All clients read one level more than we accept.
        deep = [2, 50, 120, 122, 124, 125, 130]
        if self.chance.random() < 0.05:
            depth = self.chance.choice(deep) - 1
            return '{"a":' + "[" * depth + "]" * depth + "}"
        return self.text(self._object(3))

    def plain_root(self, version: int) -> dict:
        roles = {"root": self.root_key, "targets": self.online_key, "snapshot": self.online_key, "timestamp": self.online_key}
        return {
            "_type": "root",
            "spec_version": "1.0.31",
            "consistent_snapshot": True,
            "version": version,
            "expires": "2040-01-01T00:00:00Z",
            "keys": {key.public_key.keyid: key.public_key.to_dict() for key in roles.values()},
            "roles": {role: {"keyids": [key.public_key.keyid], "threshold": 1} for role, key in roles.items()},
        }

    def plain_targets(self) -> dict:
        return {
            "_type": "targets",
            "spec_version": "1.0.31",
            "version": 7,
            "expires": "2040-01-01T00:00:00Z",
            "targets": {name: {"length": len(name), "hashes": {"sha256": hashlib.sha256(name.encode()).hexdigest()}} for name in ("a/b", "c")},
        }

    # What may be wrong with them

    def _spoil_root(self, document: dict) -> None:
        self.chance.choice([self._other_spec_version, self._other_expiry, self._number, self._twice])(document)

    def _extra_in_root(self, document: dict) -> None:
        self._extra(self.chance.choice([document, document, *document["roles"].values()]))

    def _extra_in_key(self, document: dict) -> None:
        """Adds a field to an online key, with the key's id as other tools compute it."""
        old = self.online_key.public_key.keyid
        if old not in document["keys"]:
            return
        key = copy.deepcopy(document["keys"].pop(old))
        if self.chance.random() < 0.5:
            key["keyval"][self.chance.choice(["private", "x", "é"])] = self.chance.choice(["text", 1, None, {}])
        else:
            self._extra(key)
        try:
            form = encode_canonical(json.loads(self.text(key))).encode()
            new = hashlib.sha256(form).hexdigest()
        except Exception:
            new = old
        document["keys"][new] = key
        for role in document["roles"].values():
            role["keyids"] = [new if keyid == old else keyid for keyid in role["keyids"]]

    def _spoil_ids(self, document: dict) -> None:
        role = self.chance.choice(list(document["roles"].values()))
        keyid = role["keyids"][0]
        match self.chance.randrange(3):
            case 0:
                role["keyids"] = [self._capitals(keyid)]
            case 1:
                role["keyids"] = [keyid, keyid]
            case 2:
                document["keys"] = {self._capitals(keyid): key for keyid, key in document["keys"].items()}

    def _spoil_targets(self, document: dict) -> None:
        target = self.chance.choice(list(document["targets"].values()))
        match self.chance.randrange(5):
            case 0:
                target["hashes"]["sha256"] = self._capitals(target["hashes"]["sha256"])
            case 1:
                target["hashes"]["sha512"] = self.chance.choice(["ab" * 64, "AB" * 64, "abc", "x", 1])
            case 2:
                target["length"] = Raw(self.chance.choice(NUMBERS))
            case 3:
                self._other_spec_version(document)
            case 4:
                self._twice(document)

    def _extra_in_targets(self, document: dict) -> None:
        target = self.chance.choice(list(document["targets"].values()))
        if self.chance.random() < 0.6:
            target["custom"] = self._object(3) or {"a": 1}
        else:
            self._extra(self.chance.choice([document, target]))

    def _spoil_delegations(self, document: dict) -> None:
        key = self.online_key.public_key
        name = lambda: self.chance.choice(["a", "b", "c", "10", "9", "09", "4294967295", "__proto__", "constructor", "root", ""])
        role = lambda: {"name": name(), "keyids": [key.keyid], "threshold": 1, "terminating": True, "paths": [self.chance.choice(["a/*", "é", "e\u0301"])]}
        roles = [role() for _ in range(self.chance.randrange(1, 4))]
        delegations = {"keys": {key.keyid: key.to_dict()}, "roles": roles}
        one = self.chance.choice(roles)
        match self.chance.randrange(8):
            case 0:
                one["keyids"] = [self._capitals(key.keyid)]
            case 1:
                one["keyids"] = [key.keyid, key.keyid]
            case 2:
                self._extra(one)
            case 3:
                self._extra(delegations)
            case 4:
                del one["terminating"]
        document["delegations"] = delegations

    def _other_spec_version(self, document: dict) -> None:
        document["spec_version"] = self.chance.choice(SPEC_VERSIONS)

    def _other_expiry(self, document: dict) -> None:
        document["expires"] = self.chance.choice(EXPIRES)

    def _number(self, document: dict) -> None:
        role = self.chance.choice(list(document["roles"].values()))
        place, field = self.chance.choice([(document, "version"), (role, "threshold")])
        place[field] = Raw(self.chance.choice(["2.0", "2e0", "9007199254740993", "18446744073709551615"]) if field == "version" else "1.0")

    def _twice(self, document: dict) -> None:
        pairs = Pairs(document.items())
        key = self._key()
        twice = [(key, self._value(1)), (key, self._value(1))] if self.chance.random() < 0.7 else [("version", 7)]
        pairs.extend(twice)
        document["x-twice"] = pairs if self.chance.random() < 0.5 else Pairs(twice)

    def _extra(self, place: dict) -> None:
        if self.chance.random() < 0.1:
            place[self.chance.choice(OTHER_CASE)] = self.chance.choice([1, 5, "x", {}])
            return
        for _ in range(self.chance.randrange(1, 4)):
            key = self._key()
            # Fields that clients know are spoiled elsewhere.
            if key not in place and key not in ("length", "keyids", "threshold"):
                place[key] = self._value(3)
        if self.chance.random() < 0.04:
            depth = self.chance.choice([100, 120, 122, 123, 124, 125, 126, 127, 130, 200])
            place["x-deep"] = Raw("[" * depth + "]" * depth)

    def _capitals(self, digits: str) -> str:
        return digits.upper()

    # Values

    def _key(self) -> str:
        if self.chance.random() < 0.15:
            return "".join(self.chance.choices(["a", "b", " ", "!", '"', "\\", "é"], k=self.chance.randrange(4)))
        return self.chance.choice(KEYS)

    def _value(self, depth: int):
        kinds: list[Callable] = [
            lambda: Raw(self.chance.choice(NUMBERS)),
            lambda: self.chance.choice(STRINGS),
            lambda: "".join(self.chance.choices(STRINGS, k=2)),
            lambda: self.chance.choice([None, True, False, 5, 2**31]),
        ]
        if depth:
            kinds += [lambda: [self._value(depth - 1) for _ in range(self.chance.randrange(3))], lambda: self._object(depth - 1)]
        return self.chance.choice(kinds)()

    def _object(self, depth: int):
        members = [(self._key(), self._value(depth)) for _ in range(self.chance.randrange(4))]
        if self.chance.random() < 0.05 and members:
            return Pairs([*members, members[0]])
        return dict(members)

    def text(self, value) -> str:
        """The value as JSON, with members in any order, and any character escaped or not."""
        match value:
            case Raw():
                return str(value)
            case str():
                return '"' + "".join(map(self._character, value)) + '"'
            case Pairs():
                return self._members(list(value))
            case dict():
                members = list(value.items())
                self.chance.shuffle(members)
                return self._members(members)
            case list():
                return "[" + ",".join(map(self.text, value)) + "]"
            case _:
                return json.dumps(value)

    def _members(self, members: list) -> str:
        return "{" + ",".join(f"{self.text(key)}:{self.text(member)}" for key, member in members) + "}"

    def _character(self, character: str) -> str:
        must = character in '"\\' or character < " " or "\ud800" <= character <= "\udfff"
        if must and character in '"\\' and self.chance.random() < 0.8:
            return f"\\{character}"
        if must or self.chance.random() < self.escapes:
            units = character.encode("utf-16-be", "surrogatepass")
            return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
        return character
