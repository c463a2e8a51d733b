"""The public plugins as their authors published them, and a server that has their files under the host that they name."""

import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.web import Handler, Web, serve

HOST = "object-store.os-api.cci1.ecmwf.int"
PACKAGES = (
    "climetlab-maelstrom-power-production==0.2.2",
    "climetlab-maelstrom-radiation==0.7.5",
    "climetlab-maelstrom-yr==0.6.3",
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "radiation": {"date": "20200101", "timestep": [0], "patch": [0, 2]},
    "yr": {"size": "5GB", "dates": ["2020-03-01", "2020-03-02"]},
    "constants": {},
    "production": {"wind_turbine_id": 1},
    "surface": {"date": "2019-01-01"},
}


def install(folder: Path) -> Path:
    """Put them into a folder of their own, without what they ask for: old NumPy, TensorFlow. Skips where no index has them."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--quiet"]
    done = subprocess.run(
        [*pip, "--target", str(folder), *PACKAGES], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"the original plugins cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return folder


class Proxy(Handler):
    """Whatever host a tunnel is asked for, it leads to the files here, behind TLS."""

    context: ssl.SSLContext

    def do_CONNECT(self) -> None:
        self.send_response(200, "Connection established")
        self.end_headers()
        with self.context.wrap_socket(self.connection, server_side=True) as secured:
            self.connection = secured
            with secured.makefile("rb") as rfile, secured.makefile("wb") as wfile:
                self.rfile, self.wfile = rfile, wfile
                self.handle_one_request()


@dataclass(frozen=True, slots=True)
class Site:
    """Its server, and the environment by which requests finds and trusts it."""

    web: Web
    environment: dict[str, str]


@contextmanager
def site(files: Path, scratch: Path) -> Iterator[Site]:
    """`files` are what `https://HOST/` has."""
    certificate = scratch / "certificate.pem"
    key = scratch / "key.pem"
    _certify(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serve(files, type("TrustedProxy", (Proxy,), {"context": context})) as web:
        yield Site(web, {"HTTPS_PROXY": web.url, "NO_PROXY": "", "REQUESTS_CA_BUNDLE": str(certificate)})


def _certify(certificate: Path, key: Path) -> None:
    """For this host, signed by itself, for a day."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=12))
        .not_valid_after(now + timedelta(hours=12))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
