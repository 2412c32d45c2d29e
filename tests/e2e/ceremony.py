"""The holders of root keys, and their repository."""

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from .folder import FolderForm
from .form import DONE, Form, one_line_error, run
from .holders import Holder, KmsHolder, RsaHolder
from .variant import Variant


class Ceremony:
    """A repository without a root, and its future holders at a table with USB sticks."""

    form: Form
    place: list[object]
    # The environment variables with which a person may use the keys in KMS.
    variables: dict[str, str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.alice = Holder("alice", folder)
        self.bob = Holder("bob", folder, "--ed25519")
        self.dave = Holder("dave", folder)
        self.variables = {}

    def tufline(self, *arguments: object, **options):
        """Runs `tufline` in the holders' folder."""
        return run(*arguments, variables=self.variables, cwd=self.folder, **options)

    def root(self, command: str, *arguments: object, **options):
        """Runs `tufline root` in the holders' folder."""
        return self.tufline("root", command, *arguments, **options)

    def done(self, command: str, *arguments: object) -> str:
        """Runs `tufline root`, which must succeed, and returns its output."""
        done = self.root(command, *arguments)
        assert done.returncode == DONE, (done.stdout, done.stderr)
        return done.stdout

    def refused(self, command: str, *arguments: object, why: str, **options) -> None:
        """Runs `tufline root`, which must be refused in one line, and write nothing, neither here
        nor in the repository."""
        before = self.files()
        error = one_line_error(self.root(command, *arguments, **options))
        assert why in error, error
        assert self.files() == before, "something was written"

    def sign(self, file: str, *holders: Holder) -> None:
        for holder in holders:
            self.done("sign", file, *holder.signing)

    def show(self, file: str) -> dict:
        return json.loads(self.done("show", file, "--json"))

    def publish(self, file: str) -> None:
        self.done("publish", file, *self.place)

    def begin(self) -> None:
        """The steps after the first root."""

    def add_online_keys(self, *roles: str) -> None:
        """Makes a second online key for each role."""
        raise NotImplementedError

    def drop_old_online_keys(self, *roles: str) -> None:
        """Removes the first online key of each role."""
        raise NotImplementedError

    def refreshing(self) -> contextlib.AbstractContextManager:
        """Makes refresh run more often during the block, if it otherwise takes a while."""
        return contextlib.nullcontext()

    def files(self) -> dict[str, bytes]:
        """All files here, and all roots and intents in the repository."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()} | self.published()

    def published(self) -> dict[str, bytes]:
        raise NotImplementedError

    def first(self) -> None:
        """Makes the first root, with two signatures of three; each holder signs in their own
        place."""
        people = [self.alice, self.bob, self.carol]
        keys = [argument for person in people for argument in person.key]
        self.done("init", *keys, "--threshold", 2, *self.place)
        self.sign("1.root.json", self.alice, self.bob)
        self.publish("1.root.json")
        self.begin()


class FolderCeremony(Ceremony):
    def __init__(self, folder: Path, form: FolderForm) -> None:
        super().__init__(folder)
        self.carol = RsaHolder("carol", folder)
        self.form = form
        self.place = ["--data", form.data]

    def begin(self) -> None:
        self.form.start()

    def published(self) -> dict[str, bytes]:
        data = self.form.data
        paths = [*data.glob("repository/metadata/*.root.json"), *data.glob("ledger/root-intent.json")]
        return {f"published {path.name}": path.read_bytes() for path in paths}

    def add_online_keys(self, *roles: str) -> None:
        done = self.tufline("key", "rotate", *roles, "--begin", *self.place)
        assert done.returncode == DONE, done.stderr

    def drop_old_online_keys(self, *roles: str) -> None:
        done = self.tufline("key", "rotate", *roles, "--delete-old-keys", *self.place)
        assert done.returncode == DONE and done.stdout.count("deleted") == len(roles), (done.stdout, done.stderr)
        assert not any((self.form.data / "keys" / f"{role}.pem").exists() for role in roles)

    def intents(self) -> list[dict]:
        """The roots that somebody is about to publish."""
        path = self.form.data / "ledger" / "root-intent.json"
        return json.loads(path.read_text())["roots"] if path.exists() else []


class CloudCeremony(Ceremony):
    def __init__(self, folder: Path, form: Variant) -> None:
        super().__init__(folder)
        self.variables = form.variables()
        self.variables["AWS_ACCESS_KEY_ID"] = form.admin_keys["access_key_id"]
        self.variables["AWS_SECRET_ACCESS_KEY"] = form.admin_keys["secret_access_key"]
        key = form.connect("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Description="carol's")
        self.carol = KmsHolder("carol", key["KeyMetadata"]["Arn"])
        self.form = form
        self.place = ["--endpoints", form.data / "endpoints.json", "--admin", form.data / "admin.json"]

    def begin(self) -> None:
        shutil.copy(self.folder / "1.root.json", self.form.endpoints["trusted_root"])

    def publish(self, file: str) -> None:
        with self.refreshing():
            super().publish(file)

    @contextlib.contextmanager
    def refreshing(self) -> Iterator[None]:
        # The schedule runs it every minute: this only shortens the wait.
        over = threading.Event()

        def refresh() -> None:
            while not over.wait(2):
                self.form.invoke("refresh")

        thread = threading.Thread(target=refresh)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def add_online_keys(self, *roles: str) -> None:
        self.form.deploy_again({f"{role}Keys": "1,2" for role in roles})
        self.variables |= self.form.variables()

    def drop_old_online_keys(self, *roles: str) -> None:
        done = self.tufline("key", "rotate", *roles, "--schedule-deletion-in-days", 7, *self.place)
        assert done.returncode == DONE and done.stdout.count("deleted") == len(roles), (done.stdout, done.stderr)

    def published(self) -> dict[str, bytes]:
        form = self.form
        found = [("repository_bucket", key) for key in form.keys("repository_bucket", "metadata/") if ".root." in key]
        found += [("ledger_bucket", key) for key in form.keys("ledger_bucket", "root-intent")]
        read = lambda bucket, key: form.admin_s3.get_object(Bucket=form.endpoints[bucket], Key=key)["Body"].read()
        return {f"published {key}": read(bucket, key) for bucket, key in found}
