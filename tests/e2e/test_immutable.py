"""No metadata file except `timestamp.json` ever has two contents."""

import threading

import pytest

from .cloud import CloudForm
from .device import sha256
from .folder import FolderForm


class Watch(threading.Thread):
    """Reads all metadata files again and again, and records every content seen under each name."""

    def __init__(self, folder: FolderForm) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.seen: dict[str, set[str]] = {}
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            for name, digest in self.folder.metadata().items():
                self.seen.setdefault(name, set()).add(digest)

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self.join()


def test_metadata_of_a_folder_is_never_rewritten(folder: FolderForm):
    with Watch(folder) as watch:
        for number in range(40):
            folder.put(f"{number % 4}.bin", b"%d" % number)
            if number % 7 == 6:
                folder.kill()
                folder.start()
            if number % 4 == 3:
                folder.wait_published({f"{name % 4}.bin": sha256(b"%d" % name) for name in range(number - 3, number + 1)})
        folder.remove("0.bin")
        folder.wait_published({"0.bin": None, "3.bin": sha256(b"39")})
    assert len(watch.seen) > 10
    assert {name for name, contents in watch.seen.items() if len(contents) > 1} == set()
    # Files made after the last look were never seen.
    assert watch.seen.keys() <= folder.metadata().keys(), "none was taken away"


@pytest.mark.last
def test_metadata_in_the_bucket_is_never_rewritten(cloud: CloudForm):
    name = f"{cloud.unique('immutable')}/a"
    for data in (b"one", b"two", b"three"):
        cloud.put(name, data)
        cloud.wait_published({name: sha256(data)})
    contents = cloud.metadata_contents()
    assert contents.pop("metadata/timestamp.json") >= 3
    assert len(contents) > 6
    assert {name: count for name, count in contents.items() if count != 1} == {}
    print(f"{len(contents)} metadata files, each written once")
