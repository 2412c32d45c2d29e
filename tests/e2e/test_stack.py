"""Commands that get a deployment's name."""

from .cloud import CloudForm
from .device import sha256
from .form import DONE, json_lines, one_line_error, run


def variables(cloud: CloudForm, keys: dict) -> dict[str, str]:
    """The AWS environment variables of a person or a machine with these keys and the trusted
    root."""
    endpoints = cloud.endpoints
    return {
        "AWS_ACCESS_KEY_ID": keys["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": keys["secret_access_key"],
        "AWS_REGION": endpoints["region"],
        "TUFLINE_TRUSTED_ROOT": endpoints["trusted_root"],
        # The emulator's host names don't resolve.
        "AWS_ENDPOINT_URL": endpoints["aws"],
        "TUFLINE_METADATA_URL": endpoints["metadata_url"],
        "TUFLINE_TARGETS_URL": endpoints["targets_url"],
        "TUFLINE_PACK_URL": endpoints["pack_url"],
    }


def test_a_deployment_is_found_by_its_name(cloud: CloudForm, tmp_path):
    operator = variables(cloud, cloud.admin_keys)
    status = run("status", "--stack", "Tufline", "--json", variables=operator)
    assert status.returncode == DONE, status.stderr
    assert json_lines(status)[0]["generation"] >= 1

    name, file = f"{cloud.unique('stack')}/a.bin", tmp_path / "a.bin"
    file.write_bytes(b"by name")
    done = run("upload", file, "--name", name, "--wait", "--stack", "Tufline", variables=operator)
    assert done.returncode == DONE, done.stderr
    assert cloud.device().find([name]) == {name: sha256(b"by name")}


def test_a_name_that_is_not_deployed_is_told(cloud: CloudForm):
    error = one_line_error(run("status", "--stack", "Nowhere", variables=variables(cloud, cloud.admin_keys)))
    assert "/tufline/Nowhere" in error and "deployed in this account and region" in error


def test_a_denied_parameter_is_reported(cloud: CloudForm):
    nobody = cloud.new_user("nobody")
    error = one_line_error(run("status", "--stack", "Tufline", variables=variables(cloud, nobody)))
    assert "/tufline/Tufline" in error and "AccessDenied" in error
