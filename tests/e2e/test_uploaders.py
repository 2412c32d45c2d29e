"""Build systems that may upload only below a prefix, with the policy of `grantUpload`. Prints a
table of the denials."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from cloud_lib import deployment, users

from .attempts import NO_TAG, PROBE, Attempt, Identity
from .cloud import TRANSFER, CloudForm
from .device import sha256
from .form import DONE, FAILED, REJECTED, TIMED_OUT, json_lines, run

pytestmark = pytest.mark.emulator


class Team:
    """A build system with its own names."""

    def __init__(self, cloud: CloudForm, prefix: str, scratch: Path) -> None:
        self.cloud, self.prefix = cloud, prefix
        resources = deployment.variables(cloud.data)
        keys = users.uploading(cloud.endpoints["aws"], resources, prefix.replace("/", "-"), "--prefix", prefix)
        self.identity = Identity(cloud, keys)
        self.s3 = self.identity.client("s3")
        self._endpoints = scratch / "endpoints.json"
        self._endpoints.write_text(json.dumps({**cloud.endpoints, **keys}))

    def tufline(self, command: str, *arguments: object):
        return run(command, *arguments, "--endpoints", self._endpoints)

    def key(self, name: str) -> str:
        return self.cloud.key(self.prefix + name)


@pytest.fixture
def teams(cloud: CloudForm, tmp_path: Path) -> Iterator[tuple[Team, Team]]:
    """Two teams. The names of one begin like the names of the other, except for the `/`."""
    folder = cloud.unique("gateway")
    made = []
    for prefix in (f"{folder}/", f"{folder}2/"):
        scratch = tmp_path / str(len(made))
        scratch.mkdir()
        made.append(Team(cloud, prefix, scratch))
    yield tuple(made)


def test_a_team_does_all_that_a_build_system_does_below_its_prefix(cloud: CloudForm, teams, tmp_path: Path):
    team, _ = teams
    file = tmp_path / "fw.bin"
    file.write_bytes(b"firmware")
    name = f"{team.prefix}v1/fw.bin"
    done = team.tufline("upload", file, "--prefix", f"{team.prefix}v1/", "--custom", '{"version": "1"}', "--wait", "--json")
    assert done.returncode == DONE, done.stderr
    assert json_lines(done)[0]["name"] == name
    assert cloud.device().custom(name) == {"version": "1"}

    # In parts, as other tools do.
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(9 << 20))
    team.s3.upload_file(str(large), cloud.bucket, team.key("large.bin"), Config=TRANSFER)
    done = team.tufline("wait", f"{team.prefix}large.bin")
    assert done.returncode == DONE, done.stderr

    # The reason for a refusal.
    team.s3.put_object(Bucket=cloud.bucket, Key=team.key("bad"), Body=b"x", Metadata={"tuf-custom": "not JSON"})
    done = team.tufline("wait", f"{team.prefix}bad")
    assert done.returncode == REJECTED and "custom" in done.stderr, done.stderr

    # For a missing object, S3 answers the team 403, or 404 here; for the bucket, 403.
    done = team.tufline("wait", f"{team.prefix}never", "--timeout", 1)
    assert done.returncode == TIMED_OUT and "no such upload exists" in done.stderr, done.stderr
    team.s3.delete_object(Bucket=cloud.bucket, Key=team.key("v1/fw.bin"))
    done = team.tufline("wait", name, "--gone", "--json")
    assert done.returncode == DONE and json_lines(done)[0]["outcome"] == "gone", done.stderr

    listed = team.s3.list_objects_v2(Bucket=cloud.bucket, Prefix=team.key(""))["Contents"]
    assert {entry["Key"] for entry in listed} == {team.key("large.bin"), team.key("bad")}
    versions = team.s3.list_object_versions(Bucket=cloud.bucket, Prefix=team.key("v1/"))
    assert len(versions["Versions"]) == len(versions["DeleteMarkers"]) == 1


def test_a_team_can_do_nothing_to_anothers_names(cloud: CloudForm, teams):
    team, other = teams
    old = cloud.admin_s3.put_object(Bucket=cloud.bucket, Key=other.key("a"), Body=b"old")["VersionId"]
    cloud.admin_s3.put_object(Bucket=cloud.bucket, Key=other.key("a"), Body=b"new")
    cloud.wait_published({f"{other.prefix}a": sha256(b"new")})
    begun = cloud.admin_s3.create_multipart_upload(Bucket=cloud.bucket, Key=other.key("parts"))["UploadId"]
    team.s3.put_object(Bucket=cloud.bucket, Key=team.key("own"), Body=b"own")

    rows = {}
    for what, attempt, due in [
        *((what, attempt, "denied") for what, attempt in attempts(cloud, other.key("a"), old, other.key("parts"), begun)),
        # Every failure of these is a missing permission: with the team's own names, none is
        # missing.
        *((what, attempt, "may") for what, attempt in own_attempts(cloud, team)),
        ("delete an old version of its own", own_version(cloud, team), "denied"),
        ("list everything", listing(cloud, ""), "denied"),
        ("list all targets", listing(cloud, cloud.key("")), "denied"),
        ("list a part of its prefix", listing(cloud, team.key("")[:-1]), "denied"),
        ("list below its prefix", listing(cloud, team.key("v1/")), "may"),
        ("list the versions of everything", listing(cloud, "", "list_object_versions"), "denied"),
        ("list the versions of another's", listing(cloud, other.key(""), "list_object_versions"), "denied"),
        ("list the versions of its own", listing(cloud, team.key(""), "list_object_versions"), "may"),
        ("deliver as another party", put(cloud, "uploads_bucket", f"delegations/{PROBE}.json"), "denied"),
        ("write a receipt", put(cloud, "ledger_bucket", "hashed/x/y.json"), "denied"),
        ("write a refusal", put(cloud, "ledger_bucket", "rejected/x/y.json"), "denied"),
        ("write metadata", put(cloud, "repository_bucket", "metadata/timestamp.json"), "denied"),
        ("list refusals", listing(cloud, "rejected/", bucket="ledger_bucket"), "denied"),
    ]:
        rows[what] = ("denied" if attempt.is_denied(team.identity) else "may", due)
    print("\nwhat a build system with the prefix of one team may do")
    for what, (found, due) in rows.items():
        print(f"  {what:40} {found}{'' if found == due else f'   FAULT: {due} is due'}")
    assert all(found == due for found, due in rows.values())

    # The command line says what is missing, and the old object is untouched.
    done = team.tufline("wait", f"{other.prefix}a", "--sha256", sha256(b"old"))
    assert done.returncode == FAILED and "denied" in done.stderr and "--admin FILE" in done.stderr, done.stderr
    assert cloud.device().download_bytes(f"{other.prefix}a") == b"new"
    assert other.tufline("wait", f"{other.prefix}a").returncode == DONE
    with pytest.raises(ClientError):
        team.s3.copy_object(Bucket=cloud.bucket, Key=team.key("stolen"), CopySource={"Bucket": cloud.bucket, "Key": other.key("a")})
    versions = cloud.admin_s3.list_object_versions(Bucket=cloud.bucket, Prefix=other.key(""))
    assert len(versions["Versions"]) == 2 and "DeleteMarkers" not in versions


def attempts(cloud: CloudForm, key: str, version: str, parts: str, upload: str) -> Iterator[tuple[str, Attempt]]:
    """Attempts at another team's object, of which `version` is an old one, and at its unfinished
    `upload` of `parts`."""
    there = {"Bucket": cloud.bucket, "Key": key}
    begun = {"Bucket": cloud.bucket, "Key": parts, "UploadId": upload}
    for what, method, arguments in [
        ("put over another's", "put_object", {**there, "Body": b"theirs"}),
        ("put beside another's", "put_object", {"Bucket": cloud.bucket, "Key": f"{key}-new", "Body": b"theirs"}),
        ("tag another's", "put_object_tagging", {**there, "Tagging": {"TagSet": []}}),
        ("begin parts of another's", "create_multipart_upload", there),
        ("put a part of another's", "upload_part", {**begun, "PartNumber": 1, "Body": b"theirs"}),
        ("list the parts of another's", "list_parts", begun),
        ("abort another's", "abort_multipart_upload", begun),
        ("read another's", "get_object", there),
        ("look at another's", "head_object", there),
        ("read an old version of another's", "get_object", {**there, "VersionId": version}),
        ("delete another's", "delete_object", there),
        ("delete an old version of another's", "delete_object", {**there, "VersionId": version}),
        ("list another's", "list_objects_v2", {"Bucket": cloud.bucket, "Prefix": key}),
    ]:
        yield what, Attempt("", "", "s3", method, arguments)


def own_attempts(cloud: CloudForm, team: Team) -> Iterator[tuple[str, Attempt]]:
    """The same attempts at the team's own object."""
    own = {"Bucket": cloud.bucket, "Key": team.key("own")}
    yield "put over its own", Attempt("", "", "s3", "put_object", {**own, "Body": b"", "IfMatch": NO_TAG})
    yield "read its own", Attempt("", "", "s3", "get_object", own)
    yield "list the parts of its own", Attempt("", "", "s3", "list_parts", {**own, "UploadId": PROBE})
    yield "abort its own", Attempt("", "", "s3", "abort_multipart_upload", {**own, "UploadId": PROBE})


def own_version(cloud: CloudForm, team: Team) -> Attempt:
    return Attempt("", "", "s3", "delete_object", {"Bucket": cloud.bucket, "Key": team.key("own"), "VersionId": PROBE})


def listing(cloud: CloudForm, prefix: str, method: str = "list_objects_v2", bucket: str = "uploads_bucket") -> Attempt:
    return Attempt("", "", "s3", method, {"Bucket": cloud.endpoints[bucket], "Prefix": prefix, "MaxKeys": 1})


def put(cloud: CloudForm, bucket: str, key: str) -> Attempt:
    return Attempt("", "", "s3", "put_object", {"Bucket": cloud.endpoints[bucket], "Key": key, "Body": b"", "IfMatch": NO_TAG})
