"""wss://: a private CA is trusted when it is given, and nothing else is."""

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.bridge.client import BridgeProcess
from tests.integration.bridge.peer import Peer


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (tmp_path / "ca.pem").write_bytes(made.public_bytes(pem))
    return tmp_path / "ca.pem"


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


def test_a_private_ca_is_trusted_when_it_is_given(certificate: Path):
    with Peer(server_context(certificate)).start() as peer:
        with BridgeProcess(peer.url, CENTRAL_MCP_CA=str(certificate)) as bridge:
            bridge.call(1, "demo__echo", text="x" * 200_000)
            assert len(bridge.answer(1)["result"]["content"][0]["text"]) == 200_000
            assert bridge.errors == []
            bridge.process.stdin.close()
            assert bridge.process.wait(30) == 0
        assert peer.connections[0].close_code == 1000


def test_an_unknown_certificate_is_refused_in_words(certificate: Path):
    with Peer(server_context(certificate)).start() as peer, BridgeProcess(peer.url, CENTRAL_MCP_WAIT="0.3") as bridge:
        bridge.request(1, "tools/list")
        message = bridge.answer(1)["error"]["message"]
        assert "certificate of 127.0.0.1 is not trusted" in message
        assert "CENTRAL_MCP_CA" in message
        assert peer.headers == []


@pytest.mark.parametrize("tls", [True, False])
def test_the_wrong_scheme_is_told(certificate: Path, tls: bool):
    with Peer(server_context(certificate) if tls else None).start() as peer:
        wrong = peer.url.replace("wss:", "ws:") if tls else peer.url.replace("ws:", "wss:")
        with BridgeProcess(wrong, CENTRAL_MCP_WAIT="0.3") as bridge:
            bridge.request(1, "tools/list")
            assert "ws:// (plain) or wss:// (TLS)" in bridge.answer(1)["error"]["message"]


def test_a_missing_ca_file_is_told_at_once():
    with BridgeProcess("wss://127.0.0.1:9/mcp", CENTRAL_MCP_CA="/nowhere/ca.pem") as bridge:
        bridge.request(1, "tools/list")
        assert "/nowhere/ca.pem" in bridge.answer(1)["error"]["message"]
