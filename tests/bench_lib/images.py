"""Images by difference: what a device fetches of a new image when it has the old one, with
`tufline-device fetch --seed` and with others' clients.

The images are made of Debian's packages, see `image_pairs.py`. Ours come from a static copy of a
repository of the embedded form, which made the chunks.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from cloud_lib import Refusal
from e2e.device import sha256_of_file
from e2e.device_program import DONE, PROGRAM, DeviceProgram
from e2e.folder import FolderForm
from e2e.polling import until

from . import image_pairs, image_peers
from .figures import byte_count, table
from .image_pairs import Pair, demand
from .image_peers import Peer, Update

NAME = "gateway/rootfs.img"

# Seconds for a megabyte of an image until patience with the server is lost.
PATIENCE = 3.0


class Tufline(Peer):
    """Ours."""

    def __init__(self) -> None:
        super().__init__("tufline-device fetch --seed")

    def publish(self, pair: Pair, served: Path, device: Path) -> None:
        form = FolderForm(device / "repository", config="chunks = true\n")
        form.scratch.mkdir()
        form.start()
        try:
            form.put_file(NAME, pair.new)
            form.wait_published({NAME: sha256_of_file(pair.new)})
            shutil.copy(form.endpoints["trusted_root"], device / "root.json")

            def copied() -> bool:
                done = form.tufline("mirror", served, "--chunks", "--json")
                assert done.returncode == DONE, done.stderr
                return any((served / "chunks").rglob("*rootfs.img"))

            until("chunks", copied, 60 + PATIENCE * pair.new.stat().st_size / 1e6, 1.0)
        finally:
            form.close()

    def commands(self, url: str, pair: Pair, device: Path) -> list[Sequence[object]]:
        program = DeviceProgram(device, device / "root.json", f"{url}metadata", f"{url}targets")
        return [program.command("fetch", NAME, "--seed", pair.old, "--out", "out")]

    def look(self, log: str) -> None:
        whole_because = json.loads(log.splitlines()[-1])["fetched"][0].get("whole_because")
        if whole_because is not None:
            print(f"tufline-device fetched the whole image, since {whole_because}", flush=True)


def tables(scratch: Path, folder: Path | None, file: Path | None) -> Iterator[str]:
    """One for each pair. They are those in `folder`, or made anew; all figures stand in `file`, if one is given."""
    if not PROGRAM.exists():
        raise Refusal(f"{PROGRAM} is missing: run `cargo build --release -p tufline-device`, or name another with TUFLINE_DEVICE_BIN")
    demand(image_peers.PROGRAMS)
    if folder is None:
        folder = scratch / "pairs"
        image_pairs.make(folder)
    done: list[Update] = []
    for pair in image_pairs.pairs(folder):
        updates = list(image_peers.updates(pair, [Tufline(), *image_peers.PEERS], scratch / "update"))
        done += updates
        least = min(update.body for update in updates)
        rows = [_row(update, least) for update in sorted(updates, key=lambda update: update.body)]
        yield f"{pair.name}: {_described(pair)}\n\n" + table([HEAD, *rows], right=range(1, len(HEAD)))
    if file is not None:
        file.write_text(json.dumps([asdict(update) for update in done], indent=1))


HEAD = ("", "bytes", "over the least", "requests", "their heads", "seconds", "CPU", "memory", "on the server", "made in")


def _described(pair: Pair) -> str:
    old, new = (byte_count(path.stat().st_size) for path in (pair.old, pair.new))
    return f"{old} in the old release, {new} in the new one"


def _row(update: Update, least: int) -> list[str]:
    figures = [byte_count(update.body), f"{100 * (update.body / least - 1):+.1f} %", f"{update.requests:,}", byte_count(update.heads)]
    took = [f"{update.seconds:.1f} s", f"{update.cpu_seconds:.1f} s", byte_count(update.memory)]
    return [update.way, *figures, *took, byte_count(update.published), f"{update.publish_seconds:.1f} s"]
