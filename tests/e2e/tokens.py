"""An issuer of tokens for devices (OpenID Connect): two files on the loopback address, and a
key."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256


class Issuer:
    """Issues tokens, and serves the keys that verify them, during the `with` block."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Issuer":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()

    def token(self, audience: str, issuer: str | None = None, seconds: int = 300, key: rsa.RSAPrivateKey | None = None) -> str:
        """A token for a device, valid for `seconds` from now."""
        now = int(time.time())
        claims = {"iss": issuer or self.url, "aud": audience, "sub": "device-1", "iat": now - 600, "exp": now + seconds}
        message = f"{encoded({'alg': 'RS256', 'typ': 'JWT', 'kid': 'one'})}.{encoded(claims)}"
        signature = (key or self.key).sign(message.encode(), padding.PKCS1v15(), SHA256())
        return f"{message}.{base64url(signature)}"

    def unsigned_token(self, audience: str) -> str:
        """A token that claims to need no signature."""
        claims = {"iss": self.url, "aud": audience, "sub": "device-1", "exp": int(time.time()) + 300}
        return f"{encoded({'alg': 'none', 'typ': 'JWT', 'kid': 'one'})}.{encoded(claims)}."

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                numbers = issuer.key.public_key().public_numbers()
                files = {
                    "/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/jwks.json"},
                    "/jwks.json": {
                        "keys": [
                            {
                                "kty": "RSA",
                                "kid": "one",
                                "use": "sig",
                                "alg": "RS256",
                                "n": base64url(numbers.n.to_bytes(256, "big")),
                                "e": base64url(numbers.e.to_bytes(3, "big")),
                            }
                        ]
                    },
                }
                body = json.dumps(files.get(self.path, {})).encode()
                self.send_response(200 if self.path in files else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_) -> None:
                pass

        return Handler


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encoded(value: dict) -> str:
    return base64url(json.dumps(value).encode())
