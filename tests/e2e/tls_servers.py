"""Web servers that request a client certificate, with a certificate authority of the tests."""

import ipaddress
import ssl
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOSTS = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


class Authority:
    """Makes certificates of servers and devices, each with its key, as PEM files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _named("authority")
        made = self._begin("authority", self.key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = self._write("authority", self.key, made)[0]

    def make(self, name: str, usage: x509.ObjectIdentifier) -> tuple[Path, Path]:
        """The files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._begin(name, key).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        return self._write(name, key, made.add_extension(x509.SubjectAlternativeName(HOSTS), critical=False))

    def _begin(self, name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder().subject_name(_named(name)).issuer_name(self.name).public_key(key.public_key())
        return made.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, made: x509.CertificateBuilder) -> tuple[Path, Path]:
        certificate, secret = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, secret


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass(frozen=True)
class Asked:
    """A request, and the name in the client's certificate; `None` if there was no certificate."""

    path: str
    who: str | None


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        shown = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
        subject = dict(field for (field,) in shown["subject"]) if shown else {}
        self.server.asked.append(Asked(self.path, subject.get("commonName")))
        if (to := self.server.moved.get(self.path)) is None:
            return super().do_GET()
        self.send_response(307)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None


class Server(ThreadingHTTPServer):
    """Serves `folder` at `host` during the `with` block. With an authority it uses TLS and requests
    a certificate of that authority; if `strict`, it refuses clients without one.

    `moved` has the paths that it redirects, `asked` the requests and their clients, and `strangers`
    the number of refused clients.
    """

    def __init__(
        self, folder: Path, host: str = "127.0.0.1", authority: Authority | None = None, strict: bool = False, handler: type[Handler] = Handler
    ) -> None:
        super().__init__(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        self.moved: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.strangers = 0
        self.url = f"{'https' if authority else 'http'}://{host}:{self.server_port}/"
        if authority:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*authority.make(f"server-{self.server_port}", ExtendedKeyUsageOID.SERVER_AUTH))
            context.load_verify_locations(authority.certificate)
            context.verify_mode = ssl.CERT_REQUIRED if strict else ssl.CERT_OPTIONAL
            # Each handshake runs in its own thread, so that a stalled client doesn't block the
            # others.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def __enter__(self) -> "Server":
        # The argument is the interval at which the server checks whether it should stop.
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *arguments: object) -> None:
        self.strangers += 1
