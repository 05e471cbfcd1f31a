"""What of a certificate and a key is taken, and what is said of the rest."""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.certificates import Authority, Pair, new_key, self_signed
from waypost.supervisor import certificates
from waypost.supervisor.certificates import MAX_BYTES, BadCertificate, CertificateFiles

NOW = datetime.now(UTC)
AUTHORITY = Authority()
PAIR = AUTHORITY.issue()


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    """A pair that is good."""
    found = CertificateFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    put(found, PAIR)
    return found


def put(files: CertificateFiles, pair: Pair) -> None:
    files.cert.write_text(pair.chain)
    files.key.write_text(pair.key)


def der(text: str) -> bytes:
    """The first thing in PEM, as its bytes."""
    return base64.b64decode(text.partition("-----\n")[2].partition("-----")[0])


def pem(content: bytes, label: str) -> str:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(content).decode()}-----END {label}-----\n"


def refused(files: CertificateFiles, now: datetime = NOW) -> str:
    with pytest.raises(BadCertificate) as caught:
        certificates.read(files, now)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_chain_keeps_its_order_and_nothing_but_certificates(files: CertificateFiles) -> None:
    files.cert.write_text(f"from the authority\n{PAIR.key}{PAIR.chain}goodbye\n")
    found = certificates.read(files, NOW)
    assert found.chain == PAIR.chain
    assert found.chain.count("BEGIN CERTIFICATE") == 2
    assert (found.serial, found.names) == (PAIR.serial, ("localhost", "go.example", "127.0.0.1", "::1"))
    assert f"{PAIR.serial:X}" in found.title


def test_one_file_may_hold_both(files: CertificateFiles) -> None:
    files.cert.write_text(PAIR.chain + PAIR.key)
    assert certificates.read(CertificateFiles(files.cert, files.cert), NOW).key == PAIR.key


def test_a_key_may_have_the_parameters_of_its_curve_before_it(files: CertificateFiles) -> None:
    old = load_pem_private_key(PAIR.key.encode(), None)
    text = old.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    files.key.write_text(f"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{text}")
    assert certificates.read(files, NOW).key == PAIR.key


def test_the_key_shows_nowhere(files: CertificateFiles) -> None:
    found = certificates.read(files, NOW)
    assert "PRIVATE" not in repr(found)
    assert "PRIVATE" not in found.title


@pytest.mark.parametrize(
    "key",
    [
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
    ],
)
def test_keys_that_envoy_takes(files: CertificateFiles, key: Callable[[], rsa.RSAPrivateKey]) -> None:
    put(files, self_signed(key=key()))
    certificates.read(files, NOW)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "RSA key of 1024 bits"),  # noqa: S505 - to be refused
        (lambda: ec.generate_private_key(ec.SECP256K1()), "curve secp256k1"),
        (lambda: ec.generate_private_key(ec.SECP224R1()), "curve secp224r1"),
        (ed25519.Ed25519PrivateKey.generate, "of a kind that Envoy does not serve with (Ed25519)"),
    ],
)
def test_keys_that_envoy_does_not_take(
    files: CertificateFiles, key: Callable[[], rsa.RSAPrivateKey], said: str
) -> None:
    put(files, self_signed(key=key()))
    sentence = refused(files)
    assert sentence.startswith(f"WAYPOST_TLS_KEY: {files.key} is a")
    assert said in sentence
    assert "take RSA of 2048 bits or more" in sentence


def test_an_encrypted_key(files: CertificateFiles) -> None:
    key = load_pem_private_key(PAIR.key.encode(), None)
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        files.key.write_bytes(key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret")))
        assert refused(files).startswith(f"WAYPOST_TLS_KEY: the key in {files.key} is encrypted")


def test_files_that_are_none(files: CertificateFiles, tmp_path: Path) -> None:
    away = tmp_path / "away.pem"
    assert (
        refused(CertificateFiles(away, files.key))
        == f"WAYPOST_TLS_CERT: {away} cannot be read: No such file or directory"
    )
    assert refused(CertificateFiles(files.cert, away)).startswith(f"WAYPOST_TLS_KEY: {away} cannot be read")
    assert refused(CertificateFiles(tmp_path, files.key)) == f"WAYPOST_TLS_CERT: {tmp_path} is not a file"
    os.mkfifo(away)
    assert refused(CertificateFiles(files.cert, away)) == f"WAYPOST_TLS_KEY: {away} is not a file"


def test_what_nobody_may_read(files: CertificateFiles) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    files.key.chmod(0)
    assert refused(files) == f"WAYPOST_TLS_KEY: {files.key} cannot be read: Permission denied"


@pytest.mark.parametrize(
    ("cert", "said"),
    [
        ("", "holds no certificate in PEM"),
        (PAIR.key, "holds no certificate in PEM"),
        (PAIR.chain[:300], "holds a certificate that cannot be read"),
        (PAIR.chain.replace("MII", "MIJ", 1), "holds a certificate that cannot be read"),
        (AUTHORITY.intermediate * 11, "holds 11 certificates, more than 10"),
        ("x" * (MAX_BYTES + 1), "is larger than 262,144 bytes"),
    ],
)
def test_a_certificate_that_is_none(files: CertificateFiles, cert: str, said: str) -> None:
    files.cert.write_text(cert)
    assert refused(files).startswith(f"WAYPOST_TLS_CERT: {files.cert} {said}")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "holds no private key in PEM"),
        (PAIR.chain, "holds no private key in PEM"),
        (PAIR.key[: len(PAIR.key) // 2], "holds no private key in PEM"),
        (PAIR.key.replace("MI", "MJ", 1), "holds a private key that cannot be read"),
    ],
)
def test_a_key_that_is_none(files: CertificateFiles, key: str, said: str) -> None:
    files.key.write_text(key)
    assert refused(files).startswith(f"WAYPOST_TLS_KEY: {files.key} {said}")


def test_whatever_is_spoilt_is_refused_by_the_one_error(files: CertificateFiles) -> None:
    spoiler = random.Random(7)
    outcomes = set()
    for number in range(1500):
        spoilt = bytearray(der(PAIR.key if number % 3 == 0 else PAIR.chain))
        for _ in range(spoiler.choice([1, 1, 2, 5])):
            spoilt[spoiler.randrange(len(spoilt))] = spoiler.randrange(256)
        put(files, PAIR)
        (files.key if number % 3 == 0 else files.cert).write_text(
            pem(bytes(spoilt), "PRIVATE KEY" if number % 3 == 0 else "CERTIFICATE")
        )
        try:
            certificates.read(files, NOW)
            outcomes.add("served")
        except BadCertificate as error:
            outcomes.add("InvalidVersion" if "InvalidVersion" in str(error) else "refused")
    assert outcomes == {"served", "refused", "InvalidVersion"}


def test_a_key_of_another_certificate(files: CertificateFiles) -> None:
    files.key.write_text(AUTHORITY.issue().key)
    assert refused(files).startswith(f"WAYPOST_TLS_KEY: the key in {files.key} does not belong to the certificate")


def test_a_chain_in_the_wrong_order(files: CertificateFiles) -> None:
    files.cert.write_text(AUTHORITY.intermediate + PAIR.chain)
    assert "must be the first" in refused(files)
    assert "it is number 2" in refused(files)


def test_a_certificate_that_insists_on_ocsp(files: CertificateFiles) -> None:
    put(files, AUTHORITY.issue(must_staple=True))
    assert "must be served with an OCSP answer (must-staple)" in refused(files)


def test_a_certificate_whose_time_it_is_not(files: CertificateFiles) -> None:
    begins = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
    put(files, self_signed(begins=begins, days=1))
    early = refused(files, begins - timedelta(seconds=1))
    assert early.endswith("is valid only from 2030-01-02 03:04 UTC")
    certificates.read(files, begins)
    late = refused(files, begins + timedelta(days=1))
    assert late == f"WAYPOST_TLS_CERT: the certificate in {files.cert} has expired at 2030-01-03 03:04 UTC"


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        (("go.example.com",), "go.example.com", True),
        (("go.example.com",), "GO.example.com.", True),
        (("GO.example.com",), "go.example.com", True),
        (("go.example.com",), "example.com", False),
        (("*.example.com",), "go.example.com", True),
        (("*.example.com",), "a.go.example.com", False),
        (("*.example.com",), "example.com", False),
        (("127.0.0.1",), "127.0.0.1", True),
        (("::1",), "0:0:0:0:0:0:0:1", True),
        (("*.0.0.1",), "127.0.0.1", False),
        ((), "go.example.com", False),
    ],
)
def test_whom_a_certificate_is_for(files: CertificateFiles, names: tuple[str, ...], host: str, covered: bool) -> None:
    put(files, self_signed(key=new_key(), names=names))
    assert certificates.read(files, NOW).covers(host) is covered
