"""A thousand small artifacts at once."""

import concurrent.futures
import subprocess
from pathlib import Path

from .device import sha256
from .form import Form
from .polling import until

COUNT = 1000
UPLOADERS = 16


def test_a_burst_is_published_once_and_in_few_generations(form: Form, tmp_path: Path):
    before = form.generation()
    expected = burst(form, form.unique("burst"), COUNT, tmp_path)
    form.wait_published(expected, seconds=180)

    def told_of_all() -> bool:
        missing = [name for name, events in form.told(expected).items() if not events]
        assert not missing, f"{len(missing)} without an event, such as {missing[:1]}"
        return True

    until("told", told_of_all, 90)
    # An event may come twice, since a stopped stage sends it again, but with the same content.
    for name, events in form.told(expected).items():
        assert {event["sha256"] for event in events} == {expected[name]}
        assert len({(event["version"], event["length"]) for event in events}) == 1
    made = [generation for generation in form.manifests(before) if names_in(generation) & expected.keys()]
    published = [name for generation in made for name in names_in(generation)]
    twice = {name for name in published if published.count(name) > 1}
    assert not twice, f"{len(twice)} were published twice, such as {sorted(twice)[:3]}"
    assert len(published) == COUNT
    print(f"{form.kind}: {COUNT} artifacts in {len(made)} generations")
    # The watcher sees the whole folder at once. The emulator delivers 10 messages at a time, where
    # AWS delivers thousands.
    assert len(made) <= (20 if form.kind == "folder" else 250)


def burst(form: Form, folder: str, count: int, scratch: Path) -> dict[str, str]:
    """Uploads a burst: with many uploaders into a bucket, or with one `cp -r` into a folder.
    Returns what must be published."""
    data = {f"{folder}/d{number % 7}/{number}.bin": f"{folder} {number}".encode() for number in range(count)}
    if form.kind == "folder":
        for name, content in data.items():
            path = scratch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        subprocess.run(["cp", "-r", str(scratch / folder), str(form.uploads)], check=True)
    else:
        with concurrent.futures.ThreadPoolExecutor(UPLOADERS) as uploaders:
            list(uploaders.map(form.put, data.keys(), data.values()))
    return {name: sha256(content) for name, content in data.items()}


def names_in(manifest: dict) -> set[str]:
    return {change["name"] for change in manifest["changes"]}
