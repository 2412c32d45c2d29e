"""Roles split into bins as they grow: devices find everything right after each split, from any
earlier state."""

from .conftest import MOST
from .device import sha256
from .form import Form
from .polling import until


def roles(form: Form) -> int:
    """The number of targets roles."""
    return len(form.published_roles())


def publish(form: Form, names: list[str]) -> dict[str, str]:
    for name in names:
        form.put(name, name.encode())
    return {name: sha256(name.encode()) for name in names}


def test_devices_follow_every_split(small: Form):
    """With no target, with one, with as many as a role may list, with one more, and then with
    many."""
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

    # Targets are changed, removed, and all removed: the roles stay.
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
