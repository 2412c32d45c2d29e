"""Deploys a repository on the emulator, makes its users, initializes it, and describes it in
files."""

import json
from pathlib import Path

from . import emulator, processes, users

# The programs of the functions; `cdk/bundle` makes a folder for each.
PROGRAMS = ("pipeline", "devices")


def make(
    data: Path,
    aws: str,
    folder: Path,
    stack: str,
    context: dict[str, str],
    tufline: Path,
    root_expires: str = "365 days",
    initialize: bool = True,
) -> dict:
    """Deploys `stack` on the emulator of `data`, whose address is `aws`. Writes files into
    `folder`, which may be `data`.

    The CDK app gets `context`, and the development root is valid for `root_expires`. Without
    `initialize` there is no root yet. Returns the content of `endpoints.json`.
    """
    resources = emulator.deploy(data, aws, stack, context)
    uploader, admin = users.make(aws, resources, stack)
    api = emulator.api_url(aws, resources)
    urls = {"metadata_url": f"{api}/metadata/", "targets_url": f"{api}/targets/", "pack_url": f"{api}/pack"}
    variables = {
        **resources,
        **{f"TUFLINE_{name.upper()}": url for name, url in urls.items()},
        "TUFLINE_CONFIG": json.dumps({**json.loads(resources["TUFLINE_CONFIG"]), "expiry": {"root": root_expires}}),
        "AWS_REGION": emulator.REGION,
        "AWS_ENDPOINT_URL": aws,
    }
    endpoints = {
        "aws": aws,
        "region": emulator.REGION,
        **uploader,
        "uploads_bucket": resources["TUFLINE_UPLOADS_BUCKET"],
        "uploads_prefix": resources["TUFLINE_UPLOADS_PREFIX"],
        "repository_bucket": resources["TUFLINE_REPOSITORY_BUCKET"],
        "ledger_bucket": resources["TUFLINE_LEDGER_BUCKET"],
        **urls,
        "trusted_root": str(folder / "root.json"),
        "queues": queues(resources),
        "event_bus": resources["TUFLINE_EVENT_BUS"],
    }
    write_variables(folder, variables)
    write(folder / "admin.json", json.dumps(admin, indent=2) + "\n")
    write(folder / "endpoints.json", json.dumps(endpoints, indent=2) + "\n")
    if not initialize:
        return endpoints
    connection = ["--endpoints", folder / "endpoints.json", "--admin", folder / "admin.json"]
    command = [tufline, "init", "--development", *connection, "--data", folder]
    processes.run(command, data, folder / "init.log", variables)
    return endpoints


def again(data: Path, aws: str, folder: Path, stack: str, context: dict[str, str]) -> None:
    """Deploys `stack` once more with another context, and updates the variables of its keys and its
    configuration."""
    resources, before = emulator.deploy(data, aws, stack, context), variables(folder)
    keys = {name: value for name, value in resources.items() if name.startswith("TUFLINE_KEY_")}
    config = {**json.loads(resources["TUFLINE_CONFIG"]), "expiry": json.loads(before["TUFLINE_CONFIG"])["expiry"]}
    write_variables(folder, {**before, **keys, "TUFLINE_CONFIG": json.dumps(config)})


def variables(folder: Path) -> dict[str, str]:
    """The variables in `resources.env`."""
    return dict(line.split("=", 1) for line in (folder / "resources.env").read_text().splitlines())


def write_variables(folder: Path, variables: dict[str, str]) -> None:
    write(folder / "resources.env", "".join(f"{name}={value}\n" for name, value in variables.items()))


def queues(resources: dict[str, str]) -> dict[str, str]:
    """The queues' URLs, by the documentation's names."""
    names = {}
    for name, suffix in (("uploads", ""), ("large", ""), ("changes", ""), ("sign", ".fifo"), ("publish", ".fifo")):
        names[f"{name}{suffix}"] = resources[f"TUFLINE_QUEUE_{name.upper()}"]
        names[f"{name}-dlq{suffix}"] = resources[f"TUFLINE_DLQ_{name.upper()}"]
    if "TUFLINE_QUEUE_CHUNK" in resources:
        names |= {"chunk": resources["TUFLINE_QUEUE_CHUNK"], "chunk-dlq": resources["TUFLINE_DLQ_CHUNK"]}
    return names


def write(path: Path, text: str) -> None:
    """Writes a file in one step, so that nobody sees half of it. It may contain keys, so only the
    user may read it."""
    partial = path.with_name(f"{path.name}.part")
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.rename(path)
