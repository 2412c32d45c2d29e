"""Runs clients, each in a process of its own, and measures them. As a program it reads one job in
JSON a line, and writes one answer a line, in the order in which the jobs end.

The program is small, since the peak memory of a process includes what its parent had (getrusage(2),
`ru_maxrss`). With `tuf` it loads python-tuf's client in advance, so that no run has to wait for
that.
"""

import json
import os
import resource
import select
import signal
import sys
import time


def limit(job: dict) -> None:
    os.setsid()
    if memory := job.get("memory"):
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)


def child(job: dict) -> int:
    limit(job)
    if "argv" in job:
        os.execvp(job["argv"][0], job["argv"])
    return python_tuf(**job["tuf"])


def python_tuf(metadata: str, downloads: str, url: str, root: str, name: str) -> int:
    """Updates and downloads with python-tuf. Prints the path of the target, or null if there is
    none."""
    from tuf.ngclient import Updater

    for folder in (metadata, downloads):
        os.makedirs(folder, exist_ok=True)
    try:
        with open(root, "rb") as file:
            updater = Updater(metadata, f"{url}/metadata/", downloads, f"{url}/targets/", bootstrap=file.read())
        updater.refresh()
        info = updater.get_targetinfo(name)
        print(json.dumps(info and updater.download_target(info)), flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def run(job: dict) -> dict:
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            status = child(job)
        finally:
            os._exit(status)
    handle = os.pidfd_open(pid)
    ended, _, _ = select.select([handle], [], [], job["seconds"])
    if not ended:
        os.killpg(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    os.close(handle)
    return {
        "hangs": not ended,
        "status": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - began,
        "kib": usage.ru_maxrss,
    }


def main() -> None:
    if "tuf" in sys.argv:
        import tuf.ngclient

        assert tuf.ngclient.Updater
    # Each job's process waits for its client; nobody waits for the job's process.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            job = json.loads(line)
            answer = {"id": job["id"], **run(job)}
            # In one write, so that lines don't mix (pipe(7), PIPE_BUF).
            os.write(1, (json.dumps(answer) + "\n").encode())
            os._exit(0)


if __name__ == "__main__":
    main()
