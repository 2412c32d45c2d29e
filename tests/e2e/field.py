"""Repositories as other tools leave them: what python-tuf's API writes, with the differences of
each tool."""

import json
from collections.abc import Callable
from pathlib import Path

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Delegations, Metadata, SuccinctRoles, Targets

from .foreign import SPEC, ForeignRepository, in_days

Edit = Callable[[str, dict], None]


def unchanged(role: str, signed: dict) -> None:
    """Leaves what python-tuf writes unchanged."""


class FieldRepository(ForeignRepository):
    """A repository whose documents are edited before they are signed.

    `renames` gives keys other ids: it returns the id for a key's entry. With `bits`, the targets
    are in that many bits' worth of succinct roles (TAP 15). `signers` has keys of other kinds for
    some roles.
    """

    def __init__(
        self,
        folder: Path,
        edit: Edit = unchanged,
        renames: Callable[[dict], str] | None = None,
        bits: int = 0,
        signers: dict[str, CryptoSigner] | None = None,
        **options,
    ) -> None:
        self.edit = edit
        self.renames = renames
        self.bits = bits
        self.ids: dict[str, str] = {}
        super().__init__(folder, **options)
        for role, signer in (signers or {}).items():
            self.root.revoke_key(self.keys[role][0].public_key.keyid, role)
            self.keys[role] = [signer]
            self.root.add_key(signer.public_key, role)
        self.write_root(self.keys["root"])

    def publish(self, *arguments, **options) -> None:
        super().publish(*arguments, **options)
        if not self.bits:
            return
        key = self.keys["bins"][0].public_key
        succinct = SuccinctRoles([key.keyid], 1, self.bits, "bin")
        listed = {name: self._target(name, data) for name, data in self.contents.items()}
        version, meta = self.versions["targets"], {}
        for role in succinct.get_roles():
            mine = {name: target for name, target in listed.items() if succinct.get_role_for_target(name) == role}
            meta[f"{role}.json"] = self._write(role, Targets(version, SPEC, in_days(30), mine), self.keys["bins"])
        top = Targets(version, SPEC, in_days(30), {}, Delegations({key.keyid: key}, succinct_roles=succinct))
        self.finish(meta | {"targets.json": self._write("targets", top, self.keys["targets"])})

    def _save(self, metadata: Metadata, signers: list[CryptoSigner], name: str) -> bytes:
        signed = metadata.signed.to_dict()
        if self.renames:
            for old, entry in {**signed.get("keys", {}), **(signed.get("delegations") or {}).get("keys", {})}.items():
                self.ids[old] = self.renames(entry)
        signed = json.loads(self.renamed(json.dumps(signed)))
        self.edit(signed["_type"], signed)
        message = encode_canonical(signed).encode()
        signatures = [
            {"keyid": self.renamed(signer.public_key.keyid), "sig": signer.sign(message).signature} for signer in signers
        ]
        written = json.dumps({"signatures": signatures, "signed": signed}).encode()
        (self.metadata / name).write_bytes(written)
        return written

    def renamed(self, text: str) -> str:
        for old, new in self.ids.items():
            text = text.replace(old, new)
        return text
