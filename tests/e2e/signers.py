"""People who sign the top-level targets role, in addition to the root."""

import json
import subprocess

from .ceremony import Ceremony, CloudCeremony, FolderCeremony
from .device import SteadyDevice, sha256
from .form import DONE, one_line_error, run
from .holders import Holder
from .http_client import ask
from .polling import until

# The files of `tufline targets next`; the second one exists while the key of the bins is being
# replaced.
FILES = ("targets.json", "targets.2.json")


class Signers(Ceremony):
    """People who hold the keys of the root and of the targets role."""

    # The arguments with which operators make and publish the documents.
    operators: list[object]

    def operate(self, *arguments: object) -> subprocess.CompletedProcess:
        """Runs `tufline` as an operator."""
        raise NotImplementedError

    def published_targets(self) -> set[str]:
        """All existing versions of the targets role."""
        raise NotImplementedError

    def go_offline(self) -> None:
        """Makes the repository stop making that document."""
        raise NotImplementedError

    def targets(self, command: str, *arguments: object) -> str:
        done = self.operate("targets", command, *arguments)
        assert done.returncode == DONE, (done.stdout, done.stderr)
        return done.stdout

    def targets_refused(self, command: str, *arguments: object, why: str) -> None:
        before = self.published_targets()
        error = one_line_error(self.operate("targets", command, *arguments))
        assert why in error, error
        assert self.published_targets() == before, "something was published"

    def publish_targets(self, file: str = FILES[0]) -> None:
        self.targets("publish", file, *self.operators)

    def publication_refused(self, file: str = FILES[0], *, why: str) -> None:
        self.targets_refused("publish", file, *self.operators, why=why)

    def next_targets(self) -> int:
        """Makes the next unsigned document, and returns its version."""
        for file in FILES:
            (self.folder / file).unlink(missing_ok=True)
        self.targets("next", "--expires", "30 days", *self.operators)
        return self.version_in(FILES[0])

    def version_in(self, file: str) -> int:
        return json.loads((self.folder / file).read_text())["signed"]["version"]

    def sign_targets(self, *holders: Holder) -> None:
        """Signs all existing documents."""
        for file in FILES:
            for holder in holders:
                if (self.folder / file).exists():
                    self.targets("sign", file, *holder.signing)

    def targets_version(self) -> int:
        """The version that devices see."""
        return int(self.form.published_roles()["targets"].partition(".")[0])

    def bins_keys(self, version: int) -> list[str]:
        """The keys of the bins in a version."""
        return list(self.form.signed(f"{version}.targets.json")["delegations"]["keys"])

    def wait_for_targets(self, version: int) -> list[str]:
        """Waits until devices see this version, and returns the ids of its signers' keys."""
        self.form.put("wake/up", str(version).encode())
        self.form.wait_published({"wake/up": sha256(str(version).encode())})
        assert self.targets_version() == version
        text = json.loads(ask(f"{self.form.endpoints['metadata_url']}{version}.targets.json").body)
        return [signature["keyid"] for signature in text["signatures"]]

    def take_over(self, *holders: Holder) -> str:
        """Moves from online to offline signing: a root that lists both kinds of keys, a document
        that two of these people signed, and a root that lists only people.

        Returns the id of the online key.
        """
        newest = max(int(name.split("/")[-1].split()[-1].split(".")[0]) for name in self.published() if name.endswith(".root.json"))
        with_people, without_key = f"{newest + 1}.root.json", f"{newest + 2}.root.json"
        self.done("next", *self.place)
        [online] = json.loads((self.folder / with_people).read_text())["signed"]["roles"]["targets"]["keyids"]
        for holder in holders:
            self.done("add-key", with_people, "--role", "targets", *holder.key)
        self.sign(with_people, self.alice, self.bob)
        self.publish(with_people)
        self.go_offline()
        self.form.put("held", b"held")
        self.form.wait_published({"held": sha256(b"held")})
        version = self.next_targets()
        self.publication_refused(why="not signed as it must be")
        self.sign_targets(*holders[:2])
        with SteadyDevice(self.form.device(), ["held"]) as device:
            self.publish_targets()
            assert len(self.wait_for_targets(version)) == 2
            self.done("next", *self.place)
            self.done("remove-key", without_key, "--role", "targets", online[:16])
            self.done("set-threshold", without_key, "--role", "targets", 2)
            self.sign(without_key, self.alice, self.bob)
            self.publish(without_key)
            until("many updates", lambda: device.updates > 10, 60)
        return online


class FolderSigners(Signers, FolderCeremony):
    @property
    def operators(self) -> list[object]:
        return self.place

    def operate(self, *arguments: object) -> subprocess.CompletedProcess:
        return self.tufline(*arguments)

    def published_targets(self) -> set[str]:
        return {path.name for path in (self.form.data / "repository" / "metadata").glob("*.targets.json")}

    def go_offline(self) -> None:
        assert self.form.stop() == 0
        config = self.form.data / "config.toml"
        config.write_text("offline_targets = true\n" + config.read_text())
        self.form.start()


class CloudSigners(Signers, CloudCeremony):
    def operate(self, *arguments: object) -> subprocess.CompletedProcess:
        # Without the administrator's keys, which would allow everything.
        return run(*arguments, variables=self.form.variables(), cwd=self.folder)

    def published_targets(self) -> set[str]:
        return {key for key in self.form.keys("repository_bucket", "metadata/") if key.endswith(".targets.json")}

    def go_offline(self) -> None:
        """The same deployment gives the bins a new key."""
        keys = str(self.form.context.get("binsKeys", "1")).split(",")
        newest = int(keys[-1])
        self.form.deploy_again({"offlineTargets": "true", "binsKeys": f"{newest},{newest + 1}"})
        self.variables |= self.form.variables()
