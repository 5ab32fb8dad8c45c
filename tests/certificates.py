"""Certificates for tests, made when they are needed: an authority, and what it signs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


@dataclass
class Authority:
    """Signs certificates into a folder.

    Attributes:
        folder: where all files go.
        name: its common name, and that of its files.
    """

    folder: Path
    name: str = "authority"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.own = self._sign(self.name, self.key, timedelta(days=3650), (), authority=True)
        self.certificate.write_bytes(self.own)

    @property
    def certificate(self) -> Path:
        """Its own certificate."""
        return self.folder / f"{self.name}.pem"

    def issue(
        self,
        name: str,
        *,
        days: float = 365,
        hosts: tuple[str, ...] = ("127.0.0.1", "localhost"),
    ) -> Identity:
        """A certificate for some hosts; with negative days it expired that long ago. An older one is replaced."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = Identity(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        made.certificate.write_bytes(self._sign(name, key, timedelta(days=days), hosts))
        made.key.write_bytes(pem(key))
        return made

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        lifetime: timedelta,
        hosts: tuple[str, ...],
        authority: bool = False,
    ) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if hosts:
            names = [x509.IPAddress(ip_address(h)) if h[0].isdigit() else x509.DNSName(h) for h in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def pem(key: ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    """A private key as PKCS #8, encrypted where there is a password."""
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
