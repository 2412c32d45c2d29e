"""`tufline` in scripts: exit codes, and a line of JSON for each answer."""

import json
import re
from pathlib import Path

import pytest
from cloud_lib import ROOT

from .device import sha256
from .folder import FolderForm
from .form import ATTENTION, DONE, MISUSED, SUPERSEDED, TIMED_OUT, Form, json_lines, one_line_error, run
from .polling import until


def test_upload_and_wait(form: Form, tmp_path: Path):
    folder = form.unique("commands")
    paths = [tmp_path / name for name in ("a.bin", "b.bin")]
    for path in paths:
        path.write_bytes(path.name.encode())
    custom = '{"board": "é"}'
    done = form.tufline("upload", *paths, "--prefix", folder, "--custom", custom, "--wait", "--json")
    assert done.returncode == DONE, done.stderr
    for path, line in zip(paths, json_lines(done), strict=True):
        generation = line.pop("generation")
        assert generation > 0
        digest = sha256(path.name.encode())
        assert line == {"outcome": "published", "name": f"{folder}/{path.name}", "sha256": digest, "length": 5}
        assert form.device().download_bytes(line["name"]) == path.name.encode()
        assert form.device().custom(line["name"]) == {"board": "é"}
    done = form.tufline("upload", paths[0], "--name", f"{folder}/c", "--json")
    assert done.returncode == DONE and json_lines(done)[0]["outcome"] == "uploaded"
    done = form.tufline("wait", f"{folder}/c")
    assert done.returncode == DONE and done.stdout.startswith(f"published {folder}/c: generation ")
    form.remove(f"{folder}/c")
    done = form.tufline("wait", f"{folder}/c", "--gone", "--json")
    assert done.returncode == DONE and json_lines(done)[0]["outcome"] == "gone"


def test_wait_for_an_upload_that_never_comes(form: Form):
    name = f"{form.unique('never')}/a"
    done = form.tufline("wait", name, "--timeout", 1)
    assert done.returncode == TIMED_OUT and "no such upload exists" in done.stderr
    done = form.tufline("wait", name, "--timeout", 0, "--json")
    assert done.returncode == TIMED_OUT and json_lines(done)[0]["outcome"] == "timed-out"
    form.put(name, b"x")
    form.wait_published({name: sha256(b"x")})
    done = form.tufline("wait", name, "--sha256", sha256(b"y"), "--timeout", 1)
    assert done.returncode == SUPERSEDED and sha256(b"x") in done.stderr
    done = form.tufline("wait", name, "--sha256", sha256(b"y"), "--timeout", 0, "--json")
    assert json_lines(done) == [{"outcome": "superseded", "name": name, "sha256": sha256(b"x")}]
    done = form.tufline("wait", name, "--gone", "--timeout", 1)
    assert done.returncode == TIMED_OUT and len(done.stderr.splitlines()) == 1


def test_status(form: Form):
    name = f"{form.unique('status')}/a"
    form.put(name, b"x")
    form.wait_published({name: sha256(b"x")})
    done = form.tufline("status", "--json", operator=True)
    status = json.loads(done.stdout)
    # Other tests may have left something for an operator's attention.
    assert done.returncode == (ATTENTION if status["attention"] else DONE), done.stderr
    assert status["generation"] > 0 and status["targets"] > 0
    assert [role["role"] for role in status["roles"][:4]] == ["root", "timestamp", "snapshot", "targets"]
    if form.kind == "cloud":
        assert set(status["queues"]) == {"uploads", "large", "changes", "sign", "publish"}
    done = form.tufline("status", operator=True)
    assert done.returncode in (DONE, ATTENTION) and done.stdout.startswith("published   generation ")
    assert done.stdout.splitlines()[-1].startswith("attention   ") == (done.returncode == ATTENTION)


def test_status_says_when_somebody_should_look(make_folder):
    folder: FolderForm = make_folder(config='[expiry]\ntimestamp = "10 seconds"\n').start()
    names = [f"name-{number}" for number in range(25)]
    for name in names:
        folder.put(name, b"x")
    folder.wait_published(dict.fromkeys(names, sha256(b"x")))
    attention = lambda: attention_of(folder)
    until("nothing", lambda: attention() == [])
    # All at once, so that they wait for consent.
    for name in names:
        folder.remove(name)
    until("held", lambda: attention() == ["25 removals held"], 30)
    done = folder.tufline("accept-removals")
    assert done.returncode == DONE, done.stderr
    until("nothing", lambda: attention() == [], 30)
    # Nobody renews anything: the process is gone, and what it signed soon expires.
    folder.kill()
    assert "no `tufline local` runs, so nothing is published or renewed" in attention()
    until("expired", lambda: any(reason.startswith("timestamp expired ") for reason in attention()), 20)
    folder.start()
    until("nothing", lambda: attention() == [], 30)


def attention_of(folder: FolderForm) -> list[str]:
    """The reasons for attention, in both formats of the answer; checks the exit code."""
    done = folder.tufline("status", "--json")
    reasons = json.loads(done.stdout)["attention"]
    assert done.returncode == (ATTENTION if reasons else DONE) and not done.stderr, done.stderr
    return reasons


def test_reconcile(form: Form):
    name = f"{form.unique('reconcile')}/a"
    form.put(name, b"x")
    form.wait_published({name: sha256(b"x")})
    done = form.tufline("reconcile", "--json", operator=True)
    assert done.returncode == DONE, done.stderr
    (line,) = json_lines(done)
    assert line["outcome"] == "reconciled" and line["hints"] >= 1
    if form.kind == "cloud":
        for queue in ("uploads", "large", "changes"):
            until("handled", lambda: form.waiting(form.queue(queue)) == 0, 120, 0.2)
    form.wait_published({name: sha256(b"x")})


@pytest.mark.slow
def test_a_server_that_never_answers_keeps_no_build_waiting(folder: FolderForm):
    folder.put("a", b"x")
    with folder.paused():
        # Devices may see the bytes of this digest, though others are uploaded.
        done = folder.tufline("wait", "a", "--sha256", sha256(b"y"), "--timeout", 0)
    assert done.returncode == TIMED_OUT and "the repository's server doesn't answer" in done.stderr, done.stderr


def test_arguments_that_make_no_sense(form: Form, tmp_path: Path):
    for arguments in (["upload"], ["wait"], ["wait", "a", "--gone", "--sha256", "0" * 64], ["upload", "a", "--timeout", "1"]):
        done = form.tufline(*arguments)
        assert done.returncode == MISUSED and done.stderr
    done = form.tufline("upload", tmp_path / "a", tmp_path / "b", "--name", "c")
    assert done.returncode == MISUSED


def same_in_each_run(printed: str) -> list[str]:
    """What the demo printed, without what differs from run to run, and each line's width."""
    patterns = {
        r"tufline-demo-\w+": "tufline-demo-NAME",
        r"\b[0-9a-f]{12}…": "DIGEST",
        r" +[\d.]+ m?s(?=$| after)": " TIME",
        r"\d+\.\d+ [kMG]B\b": "SIZE",
    }
    lines = []
    for line in printed.splitlines():
        width = len(line) if re.search(r"\d m?s$", line) else ""
        for pattern, instead in patterns.items():
            line = re.sub(pattern, instead, line)
        lines.append(f"{line.rstrip()} {width}".rstrip())
    return lines


def test_the_demo_prints_what_the_readme_shows():
    done = run("demo", "--exit")
    assert done.returncode == DONE and done.stderr == "", done.stderr
    shown = re.search(r"^```text\n(A TUF repository in .*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert same_in_each_run(done.stdout) == same_in_each_run(shown[1])


def test_a_clean_stop(folder: FolderForm):
    folder.put("a", b"x")
    folder.wait_published({"a": sha256(b"x")})
    assert folder.stop() == 0
    assert not (folder.data / "endpoints.json").exists()


def test_what_changed_while_it_was_stopped(folder: FolderForm):
    for name in ("stays", "goes", "changes"):
        folder.put(name, name.encode())
    folder.wait_published({name: sha256(name.encode()) for name in ("stays", "goes", "changes")})
    folder.stop()
    folder.remove("goes")
    folder.put("changes", b"otherwise")
    folder.put("comes", b"new")
    folder.start()
    expected = {"stays": sha256(b"stays"), "goes": None, "changes": sha256(b"otherwise"), "comes": sha256(b"new")}
    folder.wait_published(expected)
    until("told", lambda: folder.told(["comes"])["comes"])
