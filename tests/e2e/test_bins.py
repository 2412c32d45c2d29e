"""Roles are split into bins as they grow: devices find everything right after each split, from any earlier state."""

from collections.abc import Callable, Iterator

import pytest

from .cloud import CloudForm
from .device import sha256
from .folder import FolderForm
from .form import Form
from .polling import until
from .variant import Variant

# So few that a split comes with every few targets.
MOST = 3


@pytest.fixture
def small_folder(make_folder) -> FolderForm:
    return make_folder(config=f"max_targets_per_bin = {MOST}\n\n[removals]\npercent = 100\n").start()


@pytest.fixture
def small_cloud(deploy: Callable[..., Variant]) -> Iterator[CloudForm]:
    variant = deploy("Bins", {"access": "open"})
    with variant.configured("rebuild", {"max_targets_per_bin": MOST, "removals": {"percent": 100}}):
        yield variant


@pytest.fixture(params=["small_folder", pytest.param("small_cloud", marks=pytest.mark.emulator)])
def small(request: pytest.FixtureRequest) -> Form:
    """Each form in turn, with small bins."""
    return request.getfixturevalue(request.param)


def roles(form: Form) -> int:
    """How many targets roles there are."""
    return len(form.published_roles())


def publish(form: Form, names: list[str]) -> dict[str, str]:
    for name in names:
        form.put(name, name.encode())
    return {name: sha256(name.encode()) for name in names}


def test_devices_follow_every_split(small: Form):
    """At none, one, as many as a role may list, one more, and then many."""
    seasoned, seasoned_js = small.device(), small.tuf_js_device()
    expected: dict[str, str | None] = {"nothing": None}
    assert seasoned.find(expected) == seasoned_js.find(expected) == expected
    for count, due in ((1, 1), (MOST, 1), (MOST + 1, 17)):
        expected |= publish(small, [f"file-{number}" for number in range(len(expected) - 1, count)])
        small.wait_published(expected, device=seasoned)
        assert roles(small) == due, f"{count} targets"
        for device in (small.device(), small.tuf_js_device(), seasoned_js):
            assert device.find(expected) == expected, f"{count} targets"
        small.wait_tough(f"file-{count - 1}", expected[f"file-{count - 1}"])

    # Fewer on the cloud, where each of the hundreds of roles takes longer.
    count = 80 if small.kind == "folder" else 28
    last = f"file-{count - 1}"
    expected |= publish(small, [f"file-{number}" for number in range(MOST + 1, count)])
    small.wait_published(expected, device=seasoned)
    assert roles(small) > 17
    for device in (small.device(), small.tuf_js_device(), seasoned_js):
        assert device.find(expected) == expected
    assert seasoned.download_bytes(last) == last.encode()
    small.wait_tough(last, expected[last])

    # Changed, removed, and all of them removed: the roles stay.
    before = roles(small)
    small.put("file-0", b"other")
    small.remove("file-1")
    small.wait_published({**expected, "file-0": sha256(b"other"), "file-1": None}, device=seasoned)
    for number in [0, *range(2, count)]:
        small.remove(f"file-{number}")
    gone = dict.fromkeys(expected)
    small.wait_published(gone, device=seasoned)
    assert seasoned_js.find(gone) == small.device().find(gone) == gone
    until("roles", lambda: roles(small) == before)
