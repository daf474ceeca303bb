"""Run files: TOML (or a manifest) and --set overrides, checked and turned into a plan of components."""

from __future__ import annotations

import json
import logging
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, JsonValue, ValidationError

from deepsight_core.components import Dataset, Diagnostic, Judge, Metric, Model, Reporter, Spec
from deepsight_core.errors import CapabilityError, ConfigError, PluginError, UnknownComponent
from deepsight_core.hub import Hub
from deepsight_core.protocol import Value

log = logging.getLogger("deepsight.config")
Table = dict[str, Any]
T = TypeVar("T")


class Evaluate(Value):
    """One benchmark of a run."""

    dataset: Any
    judges: tuple[Any, ...] | None = None
    """None for the data set's own."""
    metrics: tuple[Any, ...] | None = None


class Diagnose(Value):
    """One diagnostic of a run."""

    diagnostic: Any
    contrast: str = "label:harmful"
    """What to contrast: `label:NAME`, `label:NAME=VALUE` or `verdict:LABEL`."""
    datasets: tuple[str, ...] | None = None
    """Which of the evaluated data sets to look at; None for all."""
    data: Any = None
    """A data set to look at without asking its samples."""
    limit: int | None = Field(2000, ge=1)
    """Look at no more samples than this (whole groups, drawn by hash)."""


class RunConfig(Value):
    """A run file. What stays unset is filled in; the manifest repeats it in full."""

    name: str | None = None
    seed: int = 0
    out: Path = Path("runs")
    """The folder of run directories."""
    plugins: tuple[str, ...] = ()
    """Local plugin files, as with --plugin."""
    roles: Mapping[str, Mapping[str, Any]] = {}
    """Role to model: { model = "name", option = ... }."""
    evaluate: tuple[Evaluate, ...] = ()
    diagnose: tuple[Diagnose, ...] = ()
    reports: tuple[Any, ...] | None = None
    """Reporters; None for every one installed."""
    activations: bool = True
    """Keep captured activations in the run directory."""
    window: int = Field(512, ge=1)
    """Samples in flight at a time."""


class Task:
    """A benchmark with its judges and metrics."""

    def __init__(self, dataset: Dataset, judges: tuple[Judge, ...], metrics: tuple[Metric, ...]) -> None:
        self.dataset, self.judges, self.metrics = dataset, judges, metrics

    @property
    def roles(self) -> set[str]:
        return {*self.dataset.roles, *(role for judge in self.judges for role in judge.roles)}


class Probe:
    """A diagnostic with what it looks at."""

    def __init__(self, entry: Diagnose, diagnostic: Diagnostic, data: Dataset | None) -> None:
        self.entry, self.diagnostic, self.data = entry, diagnostic, data


class Plan:
    """A run's components, constructed and checked against each other; nothing heavy is open yet."""

    def __init__(self, config: RunConfig, hub: Hub) -> None:
        self.config, self.hub = config, hub
        self.models = _shared({role: _model(hub, role, table) for role, table in config.roles.items()})
        self.tasks = tuple(_task(hub, entry) for entry in config.evaluate)
        self.probes = tuple(_probe(hub, entry) for entry in config.diagnose)
        if config.reports is None:
            self.reporters = tuple(_usable_reporters(hub))
        else:
            self.reporters = tuple(_typed(Reporter, hub.create("reporter", spec)) for spec in config.reports)
        self._check()

    def _check(self) -> None:
        if not self.tasks and not self.probes:
            raise ConfigError("nothing to do: the run has neither [[evaluate]] nor [[diagnose]] entries")
        for task in self.tasks:
            for role in sorted(task.roles - self.models.keys()):
                raise ConfigError(
                    f"dataset {task.dataset.name!r} asks the role {role!r}, which is not bound; add "
                    f'[roles] {role} = {{ model = "..." }} (bound: {", ".join(self.models) or "none"})'
                )
            self._require(task.dataset.name, task.dataset.needs)
            judges = [judge.name for judge in task.judges]
            for name in {name for name in judges if judges.count(name) > 1}:
                raise ConfigError(f"dataset {task.dataset.name!r} lists judge {name!r} twice; verdicts go by its name")
        if self.probes and "target" not in self.models:
            raise ConfigError('diagnostics look into the role "target", which is not bound; add [roles] target')
        evaluated = {task.dataset.name for task in self.tasks}
        for probe in self.probes:
            self._require(probe.diagnostic.name, probe.diagnostic.needs)
            for role in sorted(set(probe.diagnostic.roles) - self.models.keys()):
                raise ConfigError(
                    f"diagnostic {probe.diagnostic.name!r} also looks into the role {role!r}, which is not bound; add "
                    f'[roles] {role} = {{ model = "..." }} (bound: {", ".join(self.models) or "none"})'
                )
            for role in (*probe.diagnostic.roles, *probe.diagnostic.optional_roles):
                self._require(probe.diagnostic.name, ("whitebox",), role)
            for name in set(probe.entry.datasets or ()) - evaluated:
                raise ConfigError(
                    f"diagnostic {probe.diagnostic.name!r} is to look at dataset {name!r}, which this run does not "
                    f"evaluate (it evaluates {', '.join(sorted(evaluated)) or 'none'}); use data = ... instead"
                )
            if probe.data is None and not self.tasks:
                raise ConfigError(f"diagnostic {probe.diagnostic.name!r} has nothing to look at: evaluate or set data")
        names = [task.dataset.name for task in self.tasks]
        for name in {name for name in names if names.count(name) > 1}:
            raise ConfigError(f"dataset {name!r} is listed twice; make two runs, or one entry with epochs")

    def _require(self, who: str, needs: Sequence[str], role: str = "target") -> None:
        model = self.models.get(role)
        for need in needs:
            if model is not None and need not in model.capabilities:
                raise CapabilityError(
                    f"{who!r} needs a {role} with capability {need!r}; model {model.name!r} has "
                    f"{', '.join(sorted(model.capabilities))}"
                )

    def full(self) -> dict[str, JsonValue]:
        """The configuration with every default filled in, as the manifest keeps it."""
        return {
            "name": self.config.name,
            "seed": self.config.seed,
            "out": str(self.config.out),
            "plugins": list(self.config.plugins),
            "roles": {role: {"model": model.name, **model.options()} for role, model in self.models.items()},
            "evaluate": [
                {
                    "dataset": task.dataset.spec(),
                    "judges": [judge.spec() for judge in task.judges],
                    "metrics": [metric.spec() for metric in task.metrics],
                }
                for task in self.tasks
            ],
            "diagnose": [
                {
                    **probe.entry.model_dump(mode="json", exclude={"diagnostic", "data"}),
                    "diagnostic": probe.diagnostic.spec(),
                    "data": probe.data.spec() if probe.data else None,
                }
                for probe in self.probes
            ],
            "reports": [reporter.spec() for reporter in self.reporters],
            "activations": self.config.activations,
            "window": self.config.window,
        }


def load(path: Path) -> Table:
    """A run file as a table: TOML, or the configuration inside a manifest.json."""
    try:
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ConfigError(f"run file {path}: it must hold a table, not {content!r}")
            return dict(content.get("config", content))
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read run file {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"run file {path}: {error}") from error


def override(table: Table, assignments: Sequence[str]) -> Table:
    """The table with `dotted.path=value` assignments applied; values are TOML, or else plain text. A list is entered by
    index, or without one in all its entries: `evaluate.dataset.limit=20`."""
    result: Table = json.loads(json.dumps(table, default=str))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"--set {path}: write path=value, e.g. --set roles.target.variant=plain")
        _assign(result, path.strip().split("."), _parse(text), path.strip())
    return result


def configure(table: Mapping[str, Any]) -> RunConfig:
    """Check a table's shape. Raises ConfigError naming the entry."""
    try:
        return RunConfig.model_validate(table)
    except ValidationError as error:
        item = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            raise ConfigError(f"run file: unknown entry {where!r}") from None
        raise ConfigError(f"run file: {where}: {item['msg']}") from None


def _assign(node: Any, path: list[str], value: Any, whole: str) -> None:
    key, rest = path[0], path[1:]
    if not isinstance(node, (list, dict)):
        raise ConfigError(f"--set {whole}: there is nothing to enter at {key!r}; it is the value {node!r}")
    if isinstance(node, list):
        if key.isdigit() and int(key) < len(node):
            chosen, rest = [int(key)], rest
        elif key.isdigit():
            raise ConfigError(f"--set {whole}: there is no entry {key}; the list has {len(node)}")
        else:
            chosen, rest = list(range(len(node))), path
        for index in chosen:
            if not rest:
                node[index] = value
            else:
                node[index] = _as_table(node[index])
                _assign(node[index], rest, value, whole)
    elif not rest:
        node[key] = value
    else:
        child = node.get(key, {})
        node[key] = child if isinstance(child, list) else _as_table(child)
        _assign(node[key], rest, value, whole)


def _as_table(node: Any) -> Any:
    """A component given by its bare name becomes a table, so that an option can be set in it."""
    return {"name": node} if isinstance(node, str) else node


def _parse(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return text if isinstance(value, (date, time)) else value  # no option is a date; a revision may look like one


def _typed(cls: type[T], component: object) -> T:
    if not isinstance(component, cls):
        raise ConfigError(f"{component!r} is not a {cls.__name__.lower()}")
    return component


def _shared(models: dict[str, Model]) -> dict[str, Model]:
    """Roles on equal models share one, so that it is loaded once. To be called before any is open."""
    found: dict[tuple[type[Model], str], Model] = {}
    return {role: found.setdefault((type(model), model.model_dump_json()), model) for role, model in models.items()}


def _usable_reporters(hub: Hub) -> Iterator[Reporter]:
    """Every reporter that is installed, not blocked, and sound."""
    for name in hub.names("reporter"):
        try:
            yield _typed(Reporter, hub.create("reporter", name))
        except (PluginError, UnknownComponent) as error:
            log.warning("%s", error)


def _model(hub: Hub, role: str, table: Mapping[str, Any]) -> Model:
    if not isinstance(table.get("model"), (str, Model)):
        raise ConfigError(f'role {role!r} needs a model: {role} = {{ model = "...", ... }}')
    if isinstance(table["model"], Model):
        return _typed(Model, hub.create("model", table["model"]))
    options = {key: value for key, value in table.items() if key != "model"}
    return _typed(Model, hub.create("model", {"name": table["model"], **options}))


def _task(hub: Hub, entry: Evaluate) -> Task:
    dataset = _typed(Dataset, hub.create("dataset", entry.dataset))
    judges: Sequence[Spec] = dataset.judges if entry.judges is None else entry.judges
    metrics: Sequence[Spec] = dataset.metrics if entry.metrics is None else entry.metrics
    return Task(
        dataset,
        tuple(_typed(Judge, hub.create("judge", spec)) for spec in judges),
        tuple(_typed(Metric, hub.create("metric", spec)) for spec in metrics),
    )


def _probe(hub: Hub, entry: Diagnose) -> Probe:
    data = None if entry.data is None else _typed(Dataset, hub.create("dataset", entry.data))
    return Probe(entry, _typed(Diagnostic, hub.create("diagnostic", entry.diagnostic)), data)
