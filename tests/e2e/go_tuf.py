"""How go-tuf 2 reads a document, modelled from its source, since Go isn't available everywhere.

go-tuf decodes a document into structs, and each object also into a map for unknown fields
(https://github.com/theupdateframework/go-tuf, metadata/marshal.go). Both use Go's encoding/json,
which matches a struct's fields regardless of case, reads numbers in a map as doubles, and turns a
lone surrogate into U+FFFD. Times and digests are decoded from their text in the file, which must
not contain escapes. `custom` stays as it is in the file. go-tuf then writes all of this as JSON
again, reads that, and writes the canonical form, in which a number must be an integer of 64 bits
(https://github.com/secure-systems-lab/go-securesystemslib, cjson/canonicaljson.go).
"""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from json.decoder import py_scanstring
from json.scanner import py_make_scanner


class Unreadable(Exception):
    """go-tuf refuses the document."""


class Pairs(list):
    """An object, as in the file."""


class Map(dict):
    """A field's map. If the field appears twice, the second map's entries are added to the
    first's."""


class Number(str):
    """A number, as in the file."""


class Text(str):
    """A string, and whether the file has it without escapes."""

    plain: bool


def _string(text: str, begin: int, strict: bool) -> tuple[Text, int]:
    value, end = py_scanstring(text, begin, strict)
    string = Text(value)
    string.plain = "\\" not in text[begin : end - 1]
    return string, end


def _parse(text: str):
    decoder = json.JSONDecoder(object_pairs_hook=Pairs, parse_int=Number, parse_float=Number)
    decoder.parse_string = _string
    decoder.scan_once = py_make_scanner(decoder)
    return decoder.decode(text)


def form(kind: str, text: str) -> bytes:
    """The canonical form of what go-tuf reads."""
    file = struct(signed=ROOT if kind == "root" else TARGETS, signatures=several(SIGNATURE))(_parse(text))
    return _canonical(file["signed"]).encode()


def _canonical(value) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Number():
            if not re.fullmatch(r"-?\d+", value) or not -(2**63) <= int(value) < 2**63:
                raise Unreadable(f"floating point number {value}")
            return str(value)
        case str():
            return '"' + _text(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
        case Pairs():
            value = {_text(key): member for key, member in value}
            return _canonical(value)
        case list():
            return "[" + ",".join(map(_canonical, value)) + "]"
        case dict():
            members = sorted(value.items(), key=lambda member: member[0].encode())
            return "{" + ",".join(f"{_canonical(key)}:{_canonical(member)}" for key, member in members) + "}"
        case _:
            raise Unreadable(repr(value))


def _text(value: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd", value)


def _pairs(value) -> Pairs:
    if not isinstance(value, Pairs):
        raise Unreadable("not an object")
    return value


def _folded(name: str) -> str:
    return name.replace("\u017f", "s").replace("\u212a", "k").lower()


def _match(pairs: Pairs, fields: dict[str, Callable]) -> tuple[dict, dict]:
    """The struct's fields, and all fields whose names don't match exactly. Every matching field is
    decoded; the last one counts."""
    known, others = {}, {}
    for key, value in pairs:
        name = _text(key)
        field = name if name in fields else next((field for field in fields if _folded(name) == field), None)
        if field is not None:
            found = fields[field](value)
            known[field] = Map(known[field] | found) if isinstance(found, Map) and field in known else found
        if name not in fields:
            others[name] = unknown(value)
    return known, others


def unknown(value):
    """A value in a map."""
    match value:
        case Number():
            number = float(value)
            if number in (float("inf"), float("-inf")):
                raise Unreadable(f"{value} is out of range")
            if 0 < abs(number) < 1e-6 or abs(number) >= 1e21:
                return Number(repr(number))
            return Number(re.sub(r"\.0*$", "", format(Decimal(repr(number)), "f")))
        case Pairs():
            return {_text(key): unknown(member) for key, member in value}
        case list():
            return [unknown(item) for item in value]
        case _:
            return value


def whole(value):
    if not isinstance(value, Number) or not re.fullmatch(r"-?\d+", value) or not -(2**63) <= int(value) < 2**63:
        raise Unreadable(f"{value} is no integer")
    return Number(str(int(value)))


def text(value):
    if not isinstance(value, str) or isinstance(value, Number):
        raise Unreadable(f"{value} is no string")
    return value


def truth(value):
    if not isinstance(value, bool):
        raise Unreadable(f"{value} is no boolean")
    return value


def plain(value):
    if not text(value).plain:
        raise Unreadable(f"{value} is written with escapes")
    return value


def moment(value):
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:00)", plain(value))
    if not found:
        raise Unreadable(f"{value} is written otherwise")
    return found[1] + (found[2] or "").rstrip("0").rstrip(".") + "Z"


def digits(value):
    if not re.fullmatch(r"([0-9A-Fa-f]{2})*", plain(value)):
        raise Unreadable(f"{value} is no hexadecimal number")
    return value.lower()


def as_it_is(value):
    return value


def several(item: Callable) -> Callable:
    def decode(value):
        if not isinstance(value, list) or isinstance(value, Pairs):
            raise Unreadable("not a list")
        return [item(one) for one in value]

    return decode


def mapped(item: Callable) -> Callable:
    return lambda value: Map((_text(key), item(member)) for key, member in _pairs(value))


def struct(**fields: Callable) -> Callable:
    """A decoder of a struct. Fields that end in `_optional` are left out if they are missing; all
    others are required by every client."""
    decoders = {name.removesuffix("_optional").replace("type_", "_type"): decode for name, decode in fields.items()}
    required = {name.replace("type_", "_type") for name in fields if not name.endswith("_optional")}

    def decode(value):
        known, others = _match(_pairs(value), decoders)
        if required - known.keys():
            raise Unreadable(f"{required - known.keys()} missing")
        return others | known

    return decode


SIGNATURE = struct(keyid=text, sig=digits)
KEY = struct(keytype=text, scheme=text, keyval=struct(public=text))
ROLE = struct(keyids=several(text), threshold=whole)
ROOT = struct(
    type_=text, spec_version=text, consistent_snapshot=truth, version=whole, expires=moment, keys=mapped(KEY), roles=mapped(ROLE)
)
TARGET_FIELDS = struct(length=whole, hashes=mapped(digits), custom_optional=as_it_is)


def TARGET(value):
    found = TARGET_FIELDS(value)
    if not found["hashes"]:
        raise Unreadable("hashes must not be empty for target files")
    return found


DELEGATED_FIELDS = struct(
    name=text,
    keyids=several(text),
    threshold=whole,
    terminating_optional=truth,
    paths_optional=several(text),
    path_hash_prefixes_optional=several(text),
)


def DELEGATED(value):
    return {"terminating": False} | DELEGATED_FIELDS(value)


DELEGATIONS = struct(keys=mapped(KEY), roles=several(DELEGATED))
TARGETS = struct(
    type_=text, spec_version=text, version=whole, expires=moment, targets=mapped(TARGET), delegations_optional=DELEGATIONS
)
