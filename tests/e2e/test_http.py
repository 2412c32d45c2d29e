"""The answers to devices over HTTP: through API Gateway, and by the embedded form."""

import gzip
import hashlib
import os

from .cloud import CloudForm
from .device import sha256
from .form import Form
from .http_client import Answer, ask

FOREVER = "public, max-age=31536000, immutable"


def metadata(form: Form, file: str, **options) -> Answer:
    return ask(f"{form.endpoints['metadata_url']}{file}", **options)


def published(form: Form, data: bytes) -> tuple[str, str]:
    """Publishes a target, and returns its folder and its file name."""
    folder = form.unique("http")
    name = f"{folder}/file.bin"
    form.put(name, data)
    form.wait_published({name: sha256(data)})
    return folder, "file.bin"


def test_only_the_timestamp_must_be_revalidated(form: Form):
    published(form, b"caching")
    for file, caching in [("timestamp.json", "no-cache"), ("1.root.json", FOREVER), (form.published_roles()["targets"], FOREVER)]:
        answer = metadata(form, file)
        assert (answer.status, answer.header("cache-control")) == (200, caching), file
        assert answer.header("content-type") == "application/json"
        again = metadata(form, file, headers={"If-None-Match": answer.header("etag")})
        if file != "timestamp.json":  # it may have been signed anew in between
            assert (again.status, again.body) == (304, b"")
        assert metadata(form, file, headers={"If-None-Match": '"other"'}).status == 200


def test_a_missing_next_root_may_be_cached_for_seconds_and_nothing_else_that_is_missing(form: Form):
    missing = {"99.root.json": "max-age=5", "999999.snapshot.json": "no-store", "999999.targets.json": "no-store"}
    for file, caching in missing.items():
        answer = metadata(form, file)
        assert (answer.status, answer.header("cache-control")) == (404, caching), file


def test_metadata_is_compressed_only_on_request(form: Form):
    names = [f"{form.unique('gzip')}/{number}" for number in range(16)]  # a file worth compressing
    for name in names:
        form.put(name, b"x")
    form.wait_published({name: sha256(b"x") for name in names})
    file = form.published_roles()["targets"]
    plain, packed = metadata(form, file), metadata(form, file, headers={"Accept-Encoding": "gzip"})
    assert (plain.header("content-encoding"), packed.header("content-encoding")) == ("", "gzip")
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body)
    assert packed.header("etag") != plain.header("etag")


def test_head_says_what_get_would(form: Form):
    folder, file = published(form, b"0123456789")
    for url in (
        f"{form.endpoints['metadata_url']}1.root.json",
        f"{form.endpoints['targets_url']}{folder}/{sha256(b'0123456789')}.{file}",
    ):
        get, head = ask(url), ask(url, "HEAD")
        assert (head.status, head.body) == (200, b"")
        for name in ("etag", "cache-control", "content-type"):
            assert head.header(name) == get.header(name), name


def test_both_layouts_lead_to_a_target_and_parts_of_it_are_answered(form: Form):
    folder, file = published(form, b"0123456789")
    digest = sha256(b"0123456789")
    for path in (f"{folder}/{digest}.{file}", f"{digest}.{folder}/{file}"):
        url = f"{form.endpoints['targets_url']}{path}"
        assert (ask(url).status, ask(url).body) == (200, b"0123456789")
        part = ask(url, headers={"Range": "bytes=2-4"})
        assert (part.status, part.body, part.header("content-range")) == (206, b"234", "bytes 2-4/10")


def test_a_large_target_comes_from_the_bucket_by_a_link_that_is_signed(cloud: CloudForm):
    data = os.urandom(300 << 10)
    folder, file = published(cloud, data)
    url = f"{cloud.endpoints['targets_url']}{folder}/{sha256(data)}.{file}"
    answer = ask(url)
    assert (answer.status, answer.header("cache-control"), answer.body) == (307, "no-store", b"")
    link = answer.header("location")
    assert "X-Amz-Signature=" in link and "X-Amz-Expires=900" in link
    assert hashlib.sha256(ask(link).body).hexdigest() == sha256(data)
    assert ask(link.partition("?")[0]).status == 403, "without the signature nobody may read the bucket"
    part = ask(link, headers={"Range": "bytes=1-3"})
    assert (part.status, part.body) == (206, data[1:4])
    head = ask(url, "HEAD")
    assert (head.status, head.header("location")) == (200, "")


DIGEST = sha256(b"")
MALFORMED = [
    "metadata/",
    "metadata",
    "metadata/root.json",
    "metadata/01.root.json",
    "metadata/timestamp.json/",
    "metadata/timestamp.json%00",
    "metadata/..%2ftimestamp.json",
    "metadata/../metadata/timestamp.json",
    "metadata/%2e%2e/blobs/x",
    "metadata/1.root.json%2f..%2f..%2fledger",
    "metadata/%ff.json",
    "metadata/%zz",
    f"metadata/{'9' * 400}.root.json",
    "targets/",
    "targets/file",
    f"targets/{DIGEST}",
    f"targets/{DIGEST.upper()}.a",
    f"targets/../{DIGEST}.a",
    f"targets/a/../{DIGEST}.a",
    f"targets/{'a/' * 1000}{DIGEST}.a",
    f"blobs/{DIGEST}",
    "generations/00000000000000000001.json",
    "root-intent.json",
    "",
]


def test_malformed_requests_are_refused_without_internals(form: Form):
    base = form.endpoints["metadata_url"].removesuffix("metadata/")
    for path in MALFORMED:
        answer = ask(f"{base}{path}")
        assert 400 <= answer.status < 500, (path, answer.status, answer.body)
        for internal in (b"s3:", b"arn:", b"bucket", b"Exception", b"panicked", b"src/", b"<?xml"):
            assert internal not in answer.body, (path, answer.body)
    form.device().update()


def test_devices_can_only_read(form: Form):
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for file in ("timestamp.json", "77.root.json"):
            assert 400 <= metadata(form, file, method=method).status < 500, (method, file)
    assert metadata(form, "77.root.json").status == 404
    form.device().update()
