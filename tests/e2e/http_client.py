"""Sends requests exactly as written, and returns answers as they come."""

import contextlib
import http.client
from urllib.parse import urlsplit


class Answer:
    """An answer, with its body unchanged."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def header(self, name: str) -> str:
        return self.headers.get(name, "")


def ask(url: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
    """Requests `url` exactly as written, and follows no redirect."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    with contextlib.closing(connection):
        path = url.partition(parts.netloc)[2]
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        return Answer(connection.getresponse())
