"""Pinned files: local, cached, served, altered, gated."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deepsight_core import Source
from deepsight_core.errors import ChecksumMismatch, SourceError

CONTENT = b"id,prompt\n1,hello\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.hits += 1  # type: ignore[attr-defined]
        code = {"/gated.csv": 403, "/gone.csv": 404}.get(self.path, 200)
        self.send_response(code)
        if self.path == "/cut.csv":
            self.send_header("Content-Length", str(2 * len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if code == 200 else b"no")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("DEEPSIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DEEPSIGHT_DATA", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.hits = 0  # type: ignore[attr-defined]
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield httpd
        httpd.shutdown()


def url(server: ThreadingHTTPServer, name: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{name}"


def test_a_file_is_downloaded_once_and_then_cached(server: ThreadingHTTPServer) -> None:
    source = Source(url=url(server, "a.csv"), sha256=DIGEST)
    assert source.fetch().read_bytes() == CONTENT
    assert source.fetch().read_bytes() == CONTENT
    assert server.hits == 1  # type: ignore[attr-defined]


def test_an_altered_file_is_refused_and_not_kept(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(ChecksumMismatch, match=DIGEST):
        Source(url=url(server, "a.csv"), sha256="0" * 64).fetch()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_damaged_cache_is_noticed(server: ThreadingHTTPServer) -> None:
    source = Source(url=url(server, "a.csv"), sha256=DIGEST)
    source.fetch().write_bytes(b"other")
    with pytest.raises(ChecksumMismatch, match="delete it to download again"):
        source.fetch()


def test_gated_missing_and_unreachable_files_say_what_to_do(server: ThreadingHTTPServer) -> None:
    with pytest.raises(SourceError, match=r"gated.*HF_TOKEN"):
        Source(url=url(server, "gated.csv")).fetch()
    with pytest.raises(SourceError, match=r"HTTP 404; set source\.path"):
        Source(url=url(server, "gone.csv")).fetch()
    with pytest.raises(SourceError, match="Without a network"):
        Source(url="http://127.0.0.1:9/a.csv").fetch()


def test_a_local_path_and_a_data_folder_go_before_the_network(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.csv").write_bytes(CONTENT)
    monkeypatch.setenv("DEEPSIGHT_DATA", str(tmp_path))
    pinned = Source(url=url(server, "a.csv"), file="set/a.csv", sha256=DIGEST)
    assert pinned.fetch() == tmp_path / "set" / "a.csv"
    other = tmp_path / "own.csv"
    other.write_bytes(b"mine")
    assert Source(url=url(server, "a.csv"), path=other, sha256=DIGEST).fetch() == other
    assert server.hits == 0  # type: ignore[attr-defined]
    with pytest.raises(SourceError, match=r"correct source\.path"):
        Source(path=tmp_path / "absent.csv").fetch()
    with pytest.raises(ChecksumMismatch, match="DEEPSIGHT_DATA"):
        Source(url="http://127.0.0.1:9/", file="set/a.csv", sha256="0" * 64).fetch()


def test_a_hub_file_has_the_address_of_its_pinned_revision() -> None:
    source = Source(repo="owner/set", revision="abc", file="data/test file.csv")
    assert source.address == "https://huggingface.co/datasets/owner/set/resolve/abc/data/test%20file.csv"


def test_a_download_that_breaks_off_is_not_taken_for_the_file(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"broke off|Incomplete"):
        Source(url=url(server, "cut.csv")).fetch()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
