"""Devices of a repository that isn't open: the minimum that they must add to python-tuf's
client."""

from collections.abc import Callable, Iterator

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

# A function that returns the header fields for a device's GET of a URL.
Fields = Callable[[str], dict[str, str]]


def signed(credentials: Credentials, region: str) -> Fields:
    """Under IAM access: signs requests to the API (SigV4)."""

    def fields(url: str) -> dict[str, str]:
        request = AWSRequest("GET", url)
        SigV4Auth(credentials, "execute-api", region).add_auth(request)
        return dict(request.headers)

    return fields


def with_token(token: str) -> Fields:
    """Under JWT access: sends a token."""
    return lambda url: {"Authorization": f"Bearer {token}"}


class AuthorizedFetcher(FetcherInterface):
    """Sends `fields` to the API, and none of them to a redirect's target: such links carry their
    own signature."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.http = urllib3.PoolManager()

    def _fetch(self, url: str) -> Iterator[bytes]:
        options = {"redirect": False, "preload_content": False, "timeout": 30.0}
        response = self.http.request("GET", url, headers=self.fields(url), **options)
        if link := response.get_redirect_location():
            response.drain_conn()
            response = self.http.request("GET", link, **options)
        if response.status >= 400:
            response.drain_conn()
            raise DownloadHTTPError(f"{url}: HTTP {response.status}", response.status)
        return response.stream(1 << 20)
