"""Certificates of a cluster, checked by OpenSSL."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.crypto.tls import CERTIFICATE_LIFETIME, ClusterTls, generate_cluster_tls


def test_the_private_key_is_not_in_the_representation() -> None:
    assert "PRIVATE" not in repr(generate_cluster_tls(["ml-0"], REAL_CLOCK.now()))


def test_certificates_are_valid_from_a_day_before_until_after_the_longest_launch() -> None:
    now = REAL_CLOCK.now().replace(microsecond=0)

    certificate = x509.load_pem_x509_certificate(generate_cluster_tls(["ml-0"], now).cert.encode())

    assert certificate.not_valid_before_utc == now - timedelta(days=1)
    assert certificate.not_valid_after_utc == now + CERTIFICATE_LIFETIME


def test_a_clusters_certificate_covers_all_its_names_and_addresses() -> None:
    tls = generate_cluster_tls(["ml-0", "10.0.0.4"], REAL_CLOCK.now())
    names = x509.load_pem_x509_certificate(tls.cert.encode()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )

    assert names.value.get_values_for_type(x509.DNSName) == ["ml-0"]
    assert [str(address) for address in names.value.get_values_for_type(x509.IPAddress)] == ["10.0.0.4"]


def test_members_of_a_cluster_trust_each_other_and_no_other_cluster(tmp_path: Path) -> None:
    ours, theirs = (generate_cluster_tls(["ml-0"], REAL_CLOCK.now()) for _ in range(2))

    assert handshake(tmp_path, server=ours, client=ours)
    assert not handshake(tmp_path, server=ours, client=theirs)


def handshake(folder: Path, *, server: ClusterTls, client: ClusterTls) -> bool:
    """Return True if a mutual TLS handshake succeeds on both sides."""
    left, right = socket.socketpair()
    for end in (left, right):
        end.settimeout(10)
    agreed = []
    server_context = context(folder, server, ssl.PROTOCOL_TLS_SERVER)
    client_context = context(folder, client, ssl.PROTOCOL_TLS_CLIENT)

    def serve() -> None:
        try:
            with server_context.wrap_socket(left, server_side=True) as secure:
                secure.send(b"hello")
                agreed.append(secure.recv(5) == b"hello")
        except OSError:
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client_context.wrap_socket(right, server_hostname="ml-0") as secure:
            agreed.append(secure.recv(5) == b"hello")
            secure.send(b"hello")
    except OSError:
        right.close()
    thread.join(timeout=20)
    return agreed == [True, True]


def context(folder: Path, tls: ClusterTls, protocol: int) -> ssl.SSLContext:
    for name, text in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        (folder / name).write_text(text)
    tls_context = ssl.SSLContext(protocol)
    tls_context.verify_mode = ssl.CERT_REQUIRED
    tls_context.load_verify_locations(folder / "ca")
    tls_context.load_cert_chain(folder / "cert", folder / "key")
    return tls_context
