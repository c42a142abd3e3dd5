"""A certificate authority and certificates for the processes of one cluster."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


CERTIFICATE_LIFETIME = timedelta(days=35)  # longer than the longest max_hours, 720 h


@dataclass(frozen=True)
class ClusterTls:
    """What mutual TLS inside one cluster takes, all PEM text.

    :param ca: certificate that both sides trust; its private key is thrown away.
    :param cert: certificate of every member, as server and as client.
    :param key: private key of ``cert``; never shown.
    """

    ca: str
    cert: str
    key: str = field(repr=False)


def generate_cluster_tls(names: Sequence[str]) -> ClusterTls:
    """Make a certificate authority for one cluster and one certificate for all its members.

    :param names: host names and addresses that the certificate is good for.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _certificate(ca_key, ca_key, [], ca=True)
    cert = _certificate(key, ca_key, names, ca=False)
    return ClusterTls(ca=_pem(ca), cert=_pem(cert), key=_private_pem(key))


def _certificate(
    key: EllipticCurvePrivateKey, signer: EllipticCurvePrivateKey, names: Sequence[str], *, ca: bool
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import NameOID

    def called(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    now = datetime.now(UTC)  # a day back: a machine's clock may be behind this one
    builder = x509.CertificateBuilder(
        issuer_name=called("stratus cluster"), subject_name=called("stratus cluster" if ca else "stratus member"),
        public_key=key.public_key(), serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=1), not_valid_after=now + CERTIFICATE_LIFETIME,
    ).add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)  # fmt: skip
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), False)
    return builder.sign(signer, SHA256())


def _alternative(name: str) -> x509.GeneralName:
    from cryptography import x509

    with suppress(ValueError):
        return x509.IPAddress(ip_address(name))
    return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _private_pem(key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
