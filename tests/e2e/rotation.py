"""Replacing online keys with `tufline key rotate`."""

import json

from .ceremony import Ceremony
from .form import DONE
from .polling import until


class Rotation:
    """`tufline key rotate`, run repeatedly."""

    def __init__(self, ceremony: Ceremony, *roles: str) -> None:
        self.ceremony = ceremony
        self.roles = roles

    def run(self, *arguments: object) -> dict[str, dict]:
        """Runs the next step, and returns the answer for each role."""
        done = self.ceremony.tufline("key", "rotate", *self.roles, "--json", *arguments, *self.ceremony.place)
        assert done.returncode == DONE, (done.stdout, done.stderr)
        told = {line["role"]: line for line in map(json.loads, done.stdout.splitlines())}
        assert set(told) == set(self.roles)
        return told

    def steps(self, *arguments: object) -> set[str]:
        return {line["step"] for line in self.run(*arguments).values()}

    def wait(self, *steps: str) -> dict[str, dict]:
        """Repeats until all roles are at one of these steps."""
        until(" or ".join(steps), lambda: self.steps() <= set(steps), 180, 1)
        return self.run()


def replace(ceremony: Ceremony, *roles: str, last: str = "unused") -> None:
    """Replaces the keys of these roles, from new keys to the root that drops the old ones. Bob and
    Carol sign."""
    newest = max(int(name.split()[1].split(".")[0]) for name in ceremony.published() if name.endswith(".root.json"))
    rotation = Rotation(ceremony, *roles)
    # The operator's folder need not have the newest root: the command puts it there.
    (ceremony.folder / f"{newest}.root.json").unlink()
    ceremony.add_online_keys(*roles)
    rotation.run()
    for version in (newest + 1, newest + 2):
        ceremony.sign(f"{version}.root.json", ceremony.bob, ceremony.carol)
    ceremony.publish(f"{newest + 1}.root.json")
    rotation.wait("signed")
    ceremony.publish(f"{newest + 2}.root.json")
    rotation.wait(last)
