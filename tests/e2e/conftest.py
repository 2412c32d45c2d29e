"""The two forms of a repository, as fixtures.

    .venv/bin/pytest tests/e2e                  both forms; deploys on the emulator, and stops it at the end
    .venv/bin/pytest tests/e2e -m folder        the embedded form only
    TUFLINE_CLOUD=DIR .venv/bin/pytest …        with the deployment of a running `tests/cloud up --data DIR`
    TUFLINE_TEST_AWS=1 TUFLINE_CLOUD=DIR …      with a deployment in a real account: DIR has its `endpoints.json`,
                                                `admin.json` and root
    TUFLINE_BIN=FILE                            a `tufline` to test instead of the release build

The cloud tests share one deployment: each uses its own names, and leaves queues and functions as
they were.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cloud_lib import ROOT
from cloud_lib.deployment import make as make_deployment

from .ceremony import Ceremony, CloudCeremony, FolderCeremony
from .cloud import CloudForm
from .folder import FolderForm
from .form import TUFLINE, Form
from .variant import Variant

HERE = Path(__file__).resolve().parent
# The most targets of a role in forms with small bins. With so few, every few targets cause a split.
MOST = 3

REAL_ACCOUNT = os.environ.get("TUFLINE_TEST_AWS") == "1"


def pytest_sessionstart() -> None:
    if not TUFLINE.exists():
        pytest.exit(f"{TUFLINE} is missing: run `cargo build --release --workspace --bins`, or name another with TUFLINE_BIN", returncode=4)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE:
            item.add_marker("cloud" if is_cloud(item) else "folder")
            if is_cloud(item) and not {"deploy", "small", "ceremony"}.isdisjoint(item.fixturenames):
                item.add_marker("own")
        if REAL_ACCOUNT and item.get_closest_marker("emulator"):
            item.add_marker(pytest.mark.skip(reason="needs the local emulator"))
    # Tests marked `last` look at what the others left. The embedded form comes first, since it
    # fails faster.
    items.sort(key=lambda item: (item.get_closest_marker("last") is not None, is_cloud(item)))


def is_cloud(item: pytest.Item) -> bool:
    return "cloud" in item.fixturenames or "cloud" in item.name.partition("[")[2]


@pytest.fixture
def make_folder(tmp_path: Path) -> Iterator[Callable[..., FolderForm]]:
    """Makes repositories of the embedded form that are not started yet."""
    made: list[FolderForm] = []

    def make(**options) -> FolderForm:
        scratch = tmp_path / f"local-{len(made)}"
        scratch.mkdir()
        made.append(FolderForm(scratch, **options))
        return made[-1]

    yield make
    for form in made:
        form.close()


@pytest.fixture
def folder(make_folder) -> FolderForm:
    """A new repository of the embedded form."""
    return make_folder().start()


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a deployment."""
    if given := os.environ.get("TUFLINE_CLOUD"):
        yield Path(given).resolve()
        return
    if REAL_ACCOUNT:
        pytest.exit("TUFLINE_CLOUD must name the folder with endpoints.json and admin.json of the account", returncode=4)
    data = tmp_path_factory.mktemp("deployment") / "cloud"
    cloud = [sys.executable, str(ROOT / "tests" / "cloud")]
    subprocess.run([*cloud, "up", "--data", str(data)], check=True)
    yield data
    subprocess.run([*cloud, "down", "--data", str(data)], check=True)


@pytest.fixture(scope="session")
def cloud(deployment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudForm]:
    """The deployment that all tests share."""
    form = CloudForm(tmp_path_factory.mktemp("cloud"), deployment)
    yield form
    form.close()


@pytest.fixture(scope="session")
def deploy(cloud: CloudForm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Variant]]:
    """Deploys variants beside the shared deployment: `deploy(NAME, CONTEXT)`."""
    made: list[Variant] = []

    def deploy(name: str, context: dict[str, str], **options) -> Variant:
        stack, folder = cloud.unique(name), tmp_path_factory.mktemp(name)
        make_deployment(cloud.data, cloud.endpoints["aws"], folder, stack, context, TUFLINE, **options)
        variant = Variant(tmp_path_factory.mktemp(f"{name}-scratch"), folder)
        variant.home, variant.stack, variant.context = cloud.data, stack, context
        made.append(variant)
        return variant

    yield deploy
    for variant in made:
        variant.close()


@pytest.fixture(params=["folder", "cloud"])
def form(request: pytest.FixtureRequest) -> Form:
    """Each form in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def small_folder(make_folder) -> FolderForm:
    return make_folder(config=f"max_targets_per_bin = {MOST}\n\n[removals]\npercent = 100\n").start()


@pytest.fixture
def small_cloud(deploy: Callable[..., Variant]) -> Iterator[CloudForm]:
    variant = deploy("Bins", {"access": "open"})
    config = {"max_targets_per_bin": MOST, "removals": {"percent": 100}}
    with contextlib.ExitStack() as configured:
        # Sign and publish judge a generation by the policy under which rebuild made it.
        for stage in ("rebuild", "sign", "publish"):
            configured.enter_context(variant.configured(stage, config))
        yield variant


@pytest.fixture(params=["small_folder", pytest.param("small_cloud", marks=pytest.mark.emulator)])
def small(request: pytest.FixtureRequest) -> Form:
    """Each form in turn, with small bins."""
    return request.getfixturevalue(request.param)

@pytest.fixture
def folder_ceremony(make_folder, tmp_path: Path) -> Ceremony:
    table = tmp_path / "table"
    table.mkdir()
    return FolderCeremony(table, make_folder())


@pytest.fixture
def small_bins_ceremony(make_folder, tmp_path: Path) -> Ceremony:
    """A ceremony with a repository that soon splits into many bins."""
    table = tmp_path / "table"
    table.mkdir()
    return FolderCeremony(table, make_folder(config="max_targets_per_bin = 4\n"))


@pytest.fixture
def cloud_ceremony(deploy, tmp_path: Path) -> Ceremony:
    return CloudCeremony(tmp_path, deploy("Ceremony", {"access": "open"}, initialize=False))


@pytest.fixture(params=["folder", "cloud"])
def ceremony(request: pytest.FixtureRequest) -> Ceremony:
    """A ceremony for each form in turn."""
    return request.getfixturevalue(f"{request.param}_ceremony")
