"""Further deployments for single tests, beside the one that all tests share."""

import tempfile
from pathlib import Path

from cloud_lib import deployment

from .authorized import AuthorizedFetcher, Fields
from .cloud import CloudForm
from .device import Device
from .http_client import ask


class Variant(CloudForm):
    """Another deployment on the same emulator. If it isn't open, its devices use `fields`."""

    fields: Fields | None = None
    # The values with which it was deployed.
    stack: str
    context: dict[str, str]

    def device(self) -> Device:
        folder = Path(tempfile.mkdtemp(prefix="device-", dir=self.scratch))
        return Device(self.endpoints, folder, self.fields and AuthorizedFetcher(self.fields))

    def deploy_again(self, context: dict[str, str]) -> None:
        """Deploys it again with these choices in addition to the others."""
        self.context = {**self.context, **context}
        deployment.again(self.home, self.endpoints["aws"], self.data, self.stack, self.context)

    def variables(self) -> dict[str, str]:
        """The names of all its resources, as the functions get them."""
        return deployment.variables(self.data)

    def answer(self, fields: dict[str, str]) -> int:
        """The status that a device gets with these header fields."""
        return ask(f"{self.endpoints['metadata_url']}timestamp.json", headers=fields).status
