"""Polls `timestamp.json` as often as possible: a device's own update takes longer than what is
measured."""

import http.client
import json
import time
import urllib.parse

from cloud_lib import Refusal


class Timestamp:
    """The published timestamp, read over one connection."""

    def __init__(self, endpoints: dict) -> None:
        url = urllib.parse.urlsplit(endpoints["metadata_url"])
        self._connection = http.client.HTTPConnection(url.hostname, url.port)
        self._path = f"{url.path}timestamp.json"
        self._last = self._get()

    def _get(self) -> bytes:
        self._connection.request("GET", self._path)
        return self._connection.getresponse().read()

    @property
    def generation(self) -> int:
        """The generation in the last timestamp."""
        return json.loads(self._last)["signed"]["meta"]["snapshot.json"]["version"]

    def changed(self) -> bool:
        """Whether the timestamp has changed since the last time."""
        before, self._last = self._last, self._get()
        return self._last != before

    def wait_for_change(self, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not self.changed():
            if time.monotonic() > deadline:
                raise Refusal(f"nothing was published within {seconds:.0f} s")
            time.sleep(0.0005)
