"""Certificate authority and certificates for mutual TLS between the processes of one cluster."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


CA_NAME = "stratus cluster"
MEMBER_NAME = "stratus member"

CERTIFICATE_LIFETIME = timedelta(days=35)
"""Longer than the largest max_hours, 720 h."""

MEMBER_LIFETIME = timedelta(days=1)
"""Of a certificate for one transfer between hosts."""


@dataclass(frozen=True)
class ClusterTls:
    """Certificates and key for mutual TLS inside one cluster, all PEM text.

    :param ca: certificate that both sides trust; its private key is discarded.
    :param cert: certificate of every member, as server and as client.
    :param key: private key of ``cert``; never shown.
    """

    ca: str
    cert: str
    key: str = field(repr=False)


def generate_cluster_tls(names: Sequence[str], now: datetime) -> ClusterTls:
    """Generate a certificate authority for one cluster and one certificate for all its members.

    :param names: host names and addresses that the certificate is valid for.
    :param now: current time, UTC; the certificates are valid from a day before.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    # P-256: every TLS library in the jobs' images supports it.
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _sign(_builder(ca_key, CA_NAME, now), [], ca_key, ca=True)
    cert = _sign(_builder(key, MEMBER_NAME, now), names, ca_key, ca=False)
    return ClusterTls(ca=_pem(ca), cert=_pem(cert), key=_private_pem(key))


class MemberCertificates:
    """Certificate authority of one transfer between hosts, which makes each host a certificate of its own.

    :param now: current time, UTC; the certificates are valid for a day from then, and from a day before.
    """

    def __init__(self, now: datetime) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self._now = now
        # In memory only: nothing can become a member later.
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _sign(_builder(self._key, CA_NAME, now, MEMBER_LIFETIME), [], self._key, ca=True)

    @property
    def ca(self) -> str:
        """The certificate that all members trust, as PEM text."""
        return _pem(self._certificate)

    def member(self, name: str) -> ClusterTls:
        """Return the key and the certificate of a host.

        :param name: which its certificate is valid for.
        """
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(key, MEMBER_NAME, self._now, MEMBER_LIFETIME)
        # The authority signs, whatever the key of the certificate.
        return ClusterTls(self.ca, _pem(_sign(builder, [name], self._key, ca=False)), _private_pem(key))


def _sign(
    builder: x509.CertificateBuilder, names: Sequence[str], ca_key: EllipticCurvePrivateKey, *, ca: bool
) -> x509.Certificate:
    from cryptography.hazmat.primitives.hashes import SHA256

    return _add_extensions(builder, names, ca=ca).sign(ca_key, SHA256())


def _builder(
    key: EllipticCurvePrivateKey, subject: str, now: datetime, lifetime: timedelta = CERTIFICATE_LIFETIME
) -> x509.CertificateBuilder:
    from cryptography import x509

    return x509.CertificateBuilder(
        issuer_name=_name(CA_NAME),
        subject_name=_name(subject),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        # A day back: the clock of a host may be behind this one.
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + lifetime,
    )


def _add_extensions(builder: x509.CertificateBuilder, names: Sequence[str], *, ca: bool) -> x509.CertificateBuilder:
    from cryptography import x509

    constraints = x509.BasicConstraints(ca=ca, path_length=0 if ca else None)
    builder = builder.add_extension(constraints, critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), False)
    return builder


def _name(common_name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    # An address must be an IP entry of the certificate; clients do not match it with DNS entries.
    with suppress(ValueError):
        return x509.IPAddress(ip_address(name))
    return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _private_pem(key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
