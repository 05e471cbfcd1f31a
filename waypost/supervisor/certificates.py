"""A certificate and its key as operators give them: two PEM files, read with bounds and checked to belong together."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

CERT_SETTING = "WAYPOST_TLS_CERT"
KEY_SETTING = "WAYPOST_TLS_KEY"

MAX_BYTES = 256 * 1024
"""Of either file: a chain of ten certificates has about 20 KiB."""
MAX_CHAIN = 10
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
"""Those that Envoy takes, by the names of cryptography."""

_KEY = re.compile(rb"-----BEGIN ((?:[A-Z]+ )?PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)

Identity = tuple[tuple[int, ...], ...]
"""Which files lie at two paths, and in which state; equal only while nobody has touched them."""


class BadCertificate(Exception):
    """The pair cannot be served; `str()` is a sentence that begins with the setting to mend."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the pair lies. Either may be a link, and both may be one file."""

    cert: Path
    key: Path

    def identity(self) -> Identity:
        """What tells one state of the files from another, without reading them; a file that is away has one too."""
        return _identity(self.cert), _identity(self.key)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A pair that can be served."""

    chain: str
    """PEM, the server's own certificate first, and nothing but certificates."""
    key: str = field(repr=False)
    """PEM, PKCS #8, not encrypted."""
    serial: int
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]
    """The DNS names and addresses it is for, as its subject alternative name has them."""

    @property
    def title(self) -> str:
        """It in a few words: whom it is for, how long, and its serial number as openssl prints it."""
        shown = ", ".join(self.names[:3]) + (", ..." if len(self.names) > 3 else "")
        return f"for {shown or 'no name'}, until {self.not_after:%Y-%m-%d}, serial {self.serial:X}"

    def covers(self, host: str) -> bool:
        """Whether clients that call `host`, a DNS name or an IP address, find it in the certificate (RFC 9525)."""
        try:
            wanted = str(ipaddress.ip_address(host))
        except ValueError:
            name = host.lower().rstrip(".")
            _, _, parent = name.partition(".")
            return any(one.lower() in (name, f"*.{parent}") for one in self.names)
        return wanted in self.names


def read(files: CertificateFiles, now: datetime) -> Certificate:
    """Reads the pair and checks that it can be served at `now`. Raises `BadCertificate`."""
    try:
        return _read(files, now)
    except BadCertificate:
        raise
    except Exception as error:
        # The parser has more ways to fail than it names (InvalidVersion is no ValueError), and none may end a mesh.
        what = f"cannot be understood ({type(error).__name__}: {error})"
        raise BadCertificate(f"{CERT_SETTING}: {files.cert} with {files.key} ({KEY_SETTING}) {what}") from error


def _read(files: CertificateFiles, now: datetime) -> Certificate:
    certificates = _certificates(_content(CERT_SETTING, files.cert), files.cert)
    key = _key(_content(KEY_SETTING, files.key), files.key)
    own = certificates[0]
    if problem := _weakness(key):
        raise BadCertificate(f"{KEY_SETTING}: {files.key} {problem}")
    _check_pair(certificates, key, files)
    if now < own.not_valid_before_utc:
        _refuse_time(files, "is valid only from", own.not_valid_before_utc)
    if now >= own.not_valid_after_utc:
        _refuse_time(files, "has expired at", own.not_valid_after_utc)
    if _must_staple(own):
        raise BadCertificate(
            f"{CERT_SETTING}: the certificate in {files.cert} must be served with an OCSP answer (must-staple), which "
            "Envoy has none of: take one without"
        )
    return Certificate(
        chain="".join(one.public_bytes(Encoding.PEM).decode() for one in certificates),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        serial=own.serial_number,
        not_before=own.not_valid_before_utc,
        not_after=own.not_valid_after_utc,
        names=_names(own),
    )


def _identity(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    # The time of the last change of the inode too: it moves when only the mode does, and nobody can set it back.
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _content(setting: str, path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadCertificate(f"{setting}: {path} is not a file")
        # Not to wait for somebody who writes, should it be a pipe by now.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadCertificate(f"{setting}: {path} cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise BadCertificate(f"{setting}: {path} is larger than {MAX_BYTES:,} bytes")
    return content


def _certificates(content: bytes, path: Path) -> Sequence[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise BadCertificate(f"{CERT_SETTING}: {path} holds no certificate in PEM")
    try:
        found = x509.load_pem_x509_certificates(content)
    except (ValueError, UnsupportedAlgorithm):
        raise BadCertificate(f"{CERT_SETTING}: {path} holds a certificate that cannot be read") from None
    if len(found) > MAX_CHAIN:
        raise BadCertificate(
            f"{CERT_SETTING}: {path} holds {len(found)} certificates, more than {MAX_CHAIN}; a chain needs no root"
        )
    return found


def _key(content: bytes, path: Path) -> PrivateKeyTypes:
    # Among other things in the file, such as a certificate or the parameters of a curve.
    found = _KEY.search(content)
    if found is None:
        raise BadCertificate(f"{KEY_SETTING}: {path} holds no private key in PEM")
    if found[1] == b"ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in found[0]:
        raise BadCertificate(
            f"{KEY_SETTING}: the key in {path} is encrypted, and nobody is here to give its password; decrypt it with "
            f"`openssl pkey -in {path} -out FILE`"
        )
    try:
        return load_pem_private_key(found[0], None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadCertificate(f"{KEY_SETTING}: {path} holds a private key that cannot be read") from None


def _weakness(key: PrivateKeyTypes) -> str:
    """What keeps Envoy from serving with the key; empty if nothing does."""
    taken = f"take RSA of {MIN_RSA_BITS} bits or more, or ECDSA on {', '.join(CURVES.values())}"
    if isinstance(key, rsa.RSAPrivateKey):
        if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return ""
        return f"is an RSA key of {key.key_size} bits: {taken} (and at most {MAX_RSA_BITS})"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return "" if key.curve.name in CURVES else f"is a key on the curve {key.curve.name}: {taken}"
    kind = type(key).__name__.removeprefix("_").removesuffix("PrivateKey")
    return f"is a key of a kind that Envoy does not serve with ({kind}): {taken}"


def _check_pair(certificates: Sequence[x509.Certificate], key: PrivateKeyTypes, files: CertificateFiles) -> None:
    try:
        matching = [_spki(one.public_key()) == _spki(key.public_key()) for one in certificates]
    except (ValueError, UnsupportedAlgorithm):
        raise BadCertificate(f"{CERT_SETTING}: {files.cert} holds a key that cannot be read") from None
    if matching[0]:
        return
    if any(matching):
        raise BadCertificate(
            f"{CERT_SETTING}: the certificate that belongs to the key must be the first in {files.cert}; it is number "
            f"{matching.index(True) + 1}"
        )
    raise BadCertificate(
        f"{KEY_SETTING}: the key in {files.key} does not belong to the certificate in {files.cert} ({CERT_SETTING})"
    )


def _refuse_time(files: CertificateFiles, what: str, moment: datetime) -> None:
    raise BadCertificate(f"{CERT_SETTING}: the certificate in {files.cert} {what} {moment:%Y-%m-%d %H:%M} UTC")


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _must_staple(certificate: x509.Certificate) -> bool:
    try:
        features = certificate.extensions.get_extension_for_class(x509.TLSFeature).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return False
    return x509.TLSFeatureType.status_request in features


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return ()
    addresses = (str(one) for one in names.get_values_for_type(x509.IPAddress))
    return (*names.get_values_for_type(x509.DNSName), *addresses)
