"""`make up` finds out who holds its port before it changes anything."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from central_mcp.cli.preflight import PreflightError, check_port, cloud_of, find_holder, is_free, wanted_port
from tests.waiting import wait_until


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def test_a_port_that_another_listens_on_is_not_free_even_with_reuseport(listener: socket.socket) -> None:
    assert not is_free("127.0.0.1", listener.getsockname()[1])


def test_a_port_that_was_closed_is_free_again(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)):
        accepted, _ = listener.accept()
        accepted.close()  # leaves a connection in TIME_WAIT on our side
    listener.close()
    wait_until(lambda: is_free("127.0.0.1", port), "the port to be free")


def test_the_holder_is_named_with_pid_and_command(listener: socket.socket, tmp_path: Path) -> None:
    port = listener.getsockname()[1]
    holder = find_holder("127.0.0.1", port)
    assert holder.pid == os.getpid()
    assert "python" in holder.program
    with pytest.raises(PreflightError, match=rf"port {port}: taken by .*python.* \(pid {os.getpid()}\)") as caught:
        check_port(tmp_path, port)
    assert "CENTRAL_PORT=" in caught.value.next_step


def test_a_second_checkouts_cloud_is_named_by_its_home(tmp_path: Path) -> None:
    other = tmp_path / "other"
    listen = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", listen],
        env={**os.environ, "CENTRAL_HOME": str(other)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        with pytest.raises(PreflightError, match=rf"taken by the cloud of {other}"):
            check_port(tmp_path / "mine", port)
        check_port(other, port)  # its own cloud is no obstacle
        child.communicate("\n", timeout=30)


def test_a_cloud_is_known_by_its_name_in_health_too(tmp_path: Path) -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"status": "ok", "cloud": cloud_of(tmp_path)}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "machine.key").write_bytes(b"k" * 32)
    server = HTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        check_port(tmp_path, server.server_port)
        with pytest.raises(PreflightError, match="taken by another user's cloud"):
            check_port(tmp_path / "other", server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_port_is_named_recorded_or_3000(tmp_path: Path) -> None:
    assert wanted_port(tmp_path, {}) == 3000
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "settings.json").write_text('{"port": 3456}')
    assert wanted_port(tmp_path, {}) == 3456
    assert wanted_port(tmp_path, {"CENTRAL_PORT": "3001"}) == 3001


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1"])
def test_what_is_no_port_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(PreflightError, match=rf"CENTRAL_PORT={text}: not a port"):
        wanted_port(tmp_path, {"CENTRAL_PORT": text})
