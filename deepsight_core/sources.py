"""Pinned files: where a data set lies, what it must hash to, under which licence, and how to get it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlparse
from urllib.request import Request, urlopen

from deepsight_core.errors import ChecksumMismatch, SourceError
from deepsight_core.protocol import Value

HUB = "https://huggingface.co"


def cache_root() -> Path:
    """Where downloads and derived files are kept: DEEPSIGHT_CACHE, or ~/.cache/deepsight."""
    return Path(os.environ.get("DEEPSIGHT_CACHE") or Path.home() / ".cache" / "deepsight").expanduser()


class Source(Value):
    """A file pinned by revision and checksum. A run file may override any field; `path` points at a local copy."""

    url: str | None = None
    """Where it is; or else `repo`, `revision` and `file`."""
    repo: str | None = None
    """A Hugging Face dataset repository, owner/name."""
    revision: str | None = None
    """Its commit."""
    file: str | None = None
    """The path inside the repository; also the path below DEEPSIGHT_DATA (without it, the address's last part)."""
    sha256: str | None = None
    """Digest of the pinned file. A local `path` is not held to it; what was used is in the manifest."""
    licence: str = ""
    gated: bool = False
    """Whether the hub asks for an accepted agreement and HF_TOKEN."""
    path: Path | None = None
    """A local file to use instead."""

    @property
    def address(self) -> str:
        """The address it is downloaded from."""
        if self.url:
            return self.url
        if self.repo and self.file:
            return f"{HUB}/datasets/{self.repo}/resolve/{self.revision or 'main'}/{quote(self.file)}"
        raise SourceError("this source has neither a url nor a repo and file; set source.path to a local copy")

    def fetch(self) -> Path:
        """The local file: `path`, else below DEEPSIGHT_DATA, else from the cache, else downloaded.

        Raises SourceError when it cannot be had, ChecksumMismatch when it is not the pinned file.
        """
        if self.path is not None:
            if not self.path.is_file():
                raise SourceError(f"no file at {self.path}; correct source.path, or leave it out to download")
            return self.path
        folder = os.environ.get("DEEPSIGHT_DATA")
        if folder and (local := Path(folder).expanduser() / (self.file or self._basename)).is_file():
            return self._checked(local, f"below DEEPSIGHT_DATA; to use this copy as it is, set source.path={local}")
        cached = cache_root() / "sources" / hashlib.sha256(self.address.encode()).hexdigest()[:16] / self._basename
        if not cached.is_file():
            self._download(cached)
        return self._checked(cached, "in the cache; delete it to download again")

    @property
    def _basename(self) -> str:
        return Path(urlparse(self.address).path).name

    def _checked(self, path: Path, where: str) -> Path:
        if self.sha256 and (found := file_digest(path)) != self.sha256:
            raise ChecksumMismatch(f"{path} has sha256 {found}, not the pinned {self.sha256} ({where})")
        return path

    def _download(self, target: Path) -> None:
        token = os.environ.get("HF_TOKEN")
        request = Request(self.address, headers={"User-Agent": "deepsight"})
        if token and self.address.startswith(f"{HUB}/"):
            # Unredirected: the hub sends large files from hosts that the token is not meant for.
            request.add_unredirected_header("Authorization", f"Bearer {token}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with urlopen(request, timeout=60) as response:
                handle, name = tempfile.mkstemp(dir=target.parent)
                with os.fdopen(handle, "wb") as file:
                    while block := response.read(1 << 20):
                        file.write(block)
                    promised, received = response.headers["Content-Length"], file.tell()
                if promised is not None and int(promised) != received:
                    Path(name).unlink()
                    raise OSError(f"the connection broke off after {received} of {promised} bytes")
        except HTTPError as error:
            raise SourceError(self._refusal(error.code)) from error
        except (URLError, OSError) as error:
            raise SourceError(
                f"cannot download {self.address}: {getattr(error, 'reason', error)}. Without a network, put the file "
                f"at $DEEPSIGHT_DATA/{self.file or self._basename} or set source.path to a copy"
            ) from error
        try:
            self._checked(Path(name), f"just downloaded from {self.address}")
        except ChecksumMismatch:
            Path(name).unlink()
            raise
        Path(name).replace(target)

    def _refusal(self, code: int) -> str:
        if code in (401, 403):
            return (
                f"{self.address} is gated (HTTP {code}): accept its terms on the hub and set HF_TOKEN, "
                "or set source.path to a copy"
            )
        return f"cannot download {self.address}: HTTP {code}; set source.path to a copy"


def file_digest(path: Path) -> str:
    """sha256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
