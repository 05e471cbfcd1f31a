"""Certificates for tests: a private authority, and pairs that it signs or that sign themselves."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

NAMES = ("localhost", "go.example", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Pair:
    """A certificate with its chain, and its key, in PEM."""

    chain: str
    key: str
    serial: int


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key of the kind that takes the least time to make."""
    return ec.generate_private_key(ec.SECP256R1())


def self_signed(
    *,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    names: tuple[str, ...] = NAMES,
    begins: datetime | None = None,
    days: float = 90,
) -> Pair:
    """A pair that vouches for itself, from `begins` (default: an hour ago) on."""
    return Authority().issue(key=key, names=names, begins=begins, days=days, signed_by_itself=True)


class Authority:
    """A root of its own with one intermediate, as public ones have them."""

    def __init__(self) -> None:
        self._root_key, self._key = new_key(), new_key()
        begins, ends = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=3650)
        root = _builder("Test Root", "Test Root", self._root_key, begins, ends, authority=True)
        self._root = root.sign(self._root_key, hashes.SHA256())
        middle = _builder("Test Intermediate", "Test Root", self._key, begins, ends, authority=True)
        self._middle = middle.sign(self._root_key, hashes.SHA256())

    @property
    def root(self) -> str:
        """What clients trust, in PEM."""
        return _pem(self._root)

    @property
    def intermediate(self) -> str:
        """The certificate between the root and those it issues, in PEM."""
        return _pem(self._middle)

    def issue(
        self,
        *,
        key: CertificateIssuerPrivateKeyTypes | None = None,
        names: tuple[str, ...] = NAMES,
        begins: datetime | None = None,
        days: float = 90,
        signed_by_itself: bool = False,
        must_staple: bool = False,
    ) -> Pair:
        """A pair for `names`; by the intermediate, which then follows in the chain, unless it signs itself."""
        key = key or new_key()
        begins = begins or datetime.now(UTC) - timedelta(hours=1)
        issuer = "Test Server" if signed_by_itself else "Test Intermediate"
        builder = _builder("Test Server", issuer, key, begins, begins + timedelta(days=days), authority=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
        if must_staple:
            builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
        algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) and signed_by_itself else hashes.SHA256()
        certificate = builder.sign(key if signed_by_itself else self._key, algorithm)
        return Pair(
            _pem(certificate) + ("" if signed_by_itself else self.intermediate),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            certificate.serial_number,
        )


def _builder(
    subject: str,
    issuer: str,
    key: CertificateIssuerPrivateKeyTypes,
    begins: datetime,
    ends: datetime,
    *,
    authority: bool,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
