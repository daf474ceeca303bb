"""The run directory: manifest, append-only JSON lines, lock, and what a resumed run finds there.

outputs.jsonl has one line per answer, written as it arrives; records.jsonl has one per finished sample, in the order of
the data, so that a broken run's records are a prefix of the whole run's. Both survive `kill -9`: only a torn last line
is dropped. At most a second's lines are lost when the machine itself goes down.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import jsonlines
from filelock import FileLock, Timeout
from pydantic import ValidationError

from deepsight_core.errors import CorruptRecords, DiskFull, RunError, RunExists, RunLocked
from deepsight_core.protocol import PROTOCOL, Manifest, Record, Reply, Report, Value
from deepsight_core.secrets import scrub, scrub_json, secret_values

V = TypeVar("V", bound=Value)
COMMIT_SECONDS = 1.0


class Answer(Value):
    """One line of outputs.jsonl."""

    n: int
    """Ordinal of the record in the run."""
    step: str
    """Program, step, place in the step and repetition: `elicit/0.1#2`."""
    request: str
    """Digest of the request, so that a program that asks something else on replay is noticed."""
    reply: Reply


class Journal:
    """An append-only file of JSON lines with group commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        drop_torn_line(path)
        self._file = path.open("ab")
        self._secrets = secret_values()
        self._synced = time.monotonic()
        self._dirty = False

    def append(self, values: list[Any]) -> None:
        """Write values and hand them to the system, so that they survive the process. Raises DiskFull."""
        lines = [scrub_json(value.model_dump_json(), self._secrets) for value in values]
        with _disk_errors(self.path):
            self._file.write("".join(f"{line}\n" for line in lines).encode())
            self._file.flush()
        self._dirty = self._dirty or bool(values)

    def commit(self) -> None:
        """Make what was written survive the machine, at most once a second. To be called again and again."""
        if self._dirty and time.monotonic() - self._synced > COMMIT_SECONDS:
            with _disk_errors(self.path):
                self._sync()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced, self._dirty = time.monotonic(), False

    def close(self) -> None:
        with _disk_errors(self.path):
            try:
                self._file.flush()
                if self._file.seekable():
                    self._sync()
            finally:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class RunDirectory:
    """A run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest_file = path / "manifest.json"
        self.outputs_file = path / "outputs.jsonl"
        self.records_file = path / "records.jsonl"
        self.report_file = path / "report.json"
        self.diagnoses = path / "diagnoses"

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new, empty run directory. Raises RunExists when there is a run already."""
        run = cls(path)
        if run.manifest_file.exists():
            raise RunExists(f"{path} already holds a run; continue it with `deepsight resume {path}` or choose --name")
        with _disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        return run

    @classmethod
    def existing(cls, path: Path) -> Self:
        run = cls(path)
        if not run.manifest_file.is_file():
            raise RunError(f"{path} is not a run directory: it has no manifest.json")
        return run

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; the system releases it however the process ends. Raises RunLocked."""
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunLocked(f"another process is working on {self.path}; wait for it, or stop it") from None
        try:
            yield
        finally:
            self._discard_unstarted()
            lock.release()

    def _discard_unstarted(self) -> None:
        """Remove the directory of a run that failed before it had a manifest: there is nothing in it to keep. Called
        by who holds the lock."""
        if not self.manifest_file.exists() and not any(file.name != ".lock" for file in self.path.iterdir()):
            (self.path / ".lock").unlink(missing_ok=True)
            self.path.rmdir()

    def write_manifest(self, manifest: Manifest) -> None:
        write_json(self.manifest_file, manifest)

    def manifest(self) -> Manifest:
        """Raises RunError when it is unreadable or of another protocol version."""
        return self._read(self.manifest_file, Manifest)

    def report(self) -> Report:
        if not self.report_file.is_file():
            raise RunError(f"{self.path} has no report yet; finish it with `deepsight resume {self.path}`")
        return self._read(self.report_file, Report)

    def records(self) -> Iterator[Record]:
        """All complete records, in order. Raises CorruptRecords naming the line."""
        return read_values(self.records_file, Record)

    def record_count(self) -> int:
        return sum(1 for _ in read_lines(self.records_file))

    def answers_from(self, first: int) -> dict[tuple[int, str], Answer]:
        """Answers of records that are not finished yet: at most the engine's window of them."""
        answers = read_values(self.outputs_file, Answer)
        return {(answer.n, answer.step): answer for answer in answers if answer.n >= first}

    def _read(self, path: Path, cls: type[V]) -> V:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = content.get("protocol", content.get("manifest", {}).get("protocol"))
            if found != PROTOCOL:
                raise RunError(f"{path} has protocol {found}; this DeepSight reads {PROTOCOL}")
            return cls.model_validate(content)
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read: {_first_line(error)}") from error


def write_json(path: Path, value: Value) -> None:
    _write(path, scrub_json(value.model_dump_json(indent=1)) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text whole or not at all, secrets masked."""
    _write(path, scrub(text))


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def read_lines(path: Path) -> Iterator[bytes]:
    """Complete lines of a file; a torn last one is left out. Nothing when there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def read_values(path: Path, cls: type[V]) -> Iterator[V]:
    """Every complete line as a value. Raises CorruptRecords naming file and line."""
    parse: Callable[[bytes], V] = cls.model_validate_json
    for number, line in enumerate(read_lines(path), 1):
        try:
            yield parse(line)
        except ValidationError as error:
            raise CorruptRecords(
                f"{path}, line {number} is damaged ({_first_line(error.errors()[0]['msg'])}). The lines before it are "
                f"good: move the file aside, keep its first {number - 1} lines, then `deepsight resume {path.parent}`"
            ) from None


def drop_torn_line(path: Path) -> None:
    """Cut off what follows the last line end: an interrupted write."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        keep, block = size, 1 << 16
        while keep > 0:
            start = max(0, keep - block)
            file.seek(start)
            newline = file.read(keep - start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < size:
            file.truncate(keep)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a data file in JSON lines; blank lines are skipped. Raises CorruptRecords naming file and line."""
    with jsonlines.open(path) as reader:
        try:
            yield from reader.iter(type=dict, skip_empty=True)
        except jsonlines.InvalidLineError as error:
            raise CorruptRecords(f"{path}, line {error.lineno}: not a JSON object") from error


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(
                f"no space left to write {path}; what was answered before is safe. Free space, then "
                f"`deepsight resume {path.parent}`"
            ) from error
        raise RunError(f"cannot write {path}: {error.strerror}") from error


def _first_line(error: object) -> str:
    return str(error).splitlines()[0]
