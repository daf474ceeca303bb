"""The manifest: what a run was made of, in enough detail to make it again, and whether a resumed one is the same."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from deepsight_core import __version__
from deepsight_core.components import Component, Model
from deepsight_core.config import Plan
from deepsight_core.errors import RunMismatch
from deepsight_core.protocol import Manifest
from deepsight_core.sources import file_digest
from deepsight_core.survey import Survey

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "peft", "safetensors", "numpy", "pydantic", "pluggy")


def make_manifest(name: str, plan: Plan, surveys: Iterable[Survey]) -> Manifest:
    """Describe a run whose models are open and whose data are surveyed."""
    return Manifest(
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        deepsight=__version__,
        seed=plan.config.seed,
        config=plan.full(),
        components={f"{c.kind}.{c.name}": plan.hub.origin(c) for c in _components(plan)},
        models={role: _model(model) for role, model in plan.models.items()},
        data=tuple(_data(survey) for survey in surveys),
        environment=environment(),
    )


def require_same(before: Manifest, now: Manifest, path: Path) -> None:
    """Raises RunMismatch when a resumed run would mix answers of different models, data or code."""
    for role, model in now.models.items():
        _same(path, f"the model in role {role!r}", before.models.get(role), model, "digest")
    for old, new in zip(before.data, now.data, strict=False):  # a diagnosis added later may bring data of its own
        _same(path, f"dataset {new['dataset']!r}", old, new, "dataset", "digest", "used")
    for address, origin in now.components.items():
        if address in before.components:
            _same(path, address, before.components[address], origin, "comparability")


def _same(path: Path, what: str, before: Any, now: Any, *keys: str) -> None:
    for key in keys:
        if before is None or before[key] != now[key]:
            old = None if before is None else before[key]
            raise RunMismatch(
                f"{path} cannot be resumed: {what} is not what the run began with ({key} {old} then, {now[key]} now); "
                "start a new run"
            )


def continued(before: Manifest, now: Manifest) -> Manifest:
    """The manifest of a resumed run: what was there stays as it was, what was added comes to it."""
    return now.model_copy(
        update={
            "created": before.created,
            "environment": before.environment,
            "components": {**now.components, **before.components},
        }
    )


def environment() -> dict[str, JsonValue]:
    """Python, packages and hardware."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": _memory(),
        "accelerators": list(accelerators()),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def accelerators() -> list[str]:
    """Names of CUDA devices, if a plugin has loaded torch: asking must not load it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def _components(plan: Plan) -> Iterable[Component]:
    yield from plan.models.values()
    for task in plan.tasks:
        yield task.dataset
        yield from task.judges
        yield from task.metrics
    for probe in plan.probes:
        yield probe.diagnostic
        if probe.data is not None:
            yield probe.data
    yield from plan.reporters


def _model(model: Model) -> dict[str, JsonValue]:
    return {"model": model.name, "options": model.options(), "digest": model.digest()}


def _data(survey: Survey) -> dict[str, JsonValue]:
    dataset = survey.dataset
    source: dict[str, JsonValue] | None = None
    if dataset.source is not None:
        source = {**dataset.source.model_dump(mode="json"), "found_sha256": file_digest(dataset.source.fetch())}
    return {
        "dataset": dataset.name,
        "options": dataset.options(),
        "source": source,
        "total": survey.total,
        "used": survey.chosen,
        "digest": survey.digest,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
