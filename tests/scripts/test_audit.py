"""What the check says of pinned dependencies: vulnerable, not known to be, or nobody answered."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from refold.scripts import audit

VULNERABLE = {
    "id": "OSV-1",
    "summary": "it is too old",
    "affected": [
        {
            "package": {"name": "six", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "1.17.1"}]}],
        }
    ],
}
Service = Callable[[int, object], str]


@pytest.fixture
def service() -> Iterator[Service]:
    """Starts a service that answers so to whatever it is asked, and returns its address."""
    servers = list[HTTPServer]()

    def start(status: int, document: object) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Answer))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "document", "code", "said"),
    [
        (200, {"vulns": [VULNERABLE]}, 1, "six 1.17.0: OSV-1, mended in 1.17.1\n"),
        (200, {}, 0, "no known vulnerability in 1 dependencies\n"),
        (0, {}, 0, "not audited: the advisory service gave no answer\n"),
    ],
    ids=["vulnerable", "well", "away"],
)
def test_the_audit_fails_for_what_is_vulnerable_and_not_for_want_of_an_answer(
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    status: int,
    document: object,
    code: int,
    said: str,
) -> None:
    (tmp_path / "pins").write_text("six==1.17.0\n")
    monkeypatch.setattr(audit, "PINS", tmp_path / "pins")
    url = service(status, document) if status else "http://127.0.0.1:9"

    assert audit.main(["--osv-url", url]) == code

    assert capfd.readouterr() == (said, "")


def test_pins_that_cannot_be_read_are_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "PINS", tmp_path / "none")

    assert audit.main([]) == 1

    assert "invalid requirements input" in capfd.readouterr().err


def test_a_service_that_takes_too_long_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "SECONDS", 0.01)

    assert audit.main([]) == 0

    assert capfd.readouterr().out.startswith("not audited: the advisory service took more than")
