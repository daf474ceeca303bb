"""The plugin manager: loads a plugin when one of its components is first asked for, checks it, and isolates it."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import pluggy
from pydantic import ValidationError

from deepsight_core import hookspecs
from deepsight_core.components import KINDS, Component, Spec
from deepsight_core.discovery import BLOCK, LOAD, Catalogue, Offer, discover
from deepsight_core.errors import (
    BrokenPlugin,
    ConfigError,
    ConflictingPlugins,
    InvalidPlugin,
    PluginError,
    UnknownComponent,
)

log = logging.getLogger("deepsight.hub")
C = TypeVar("C", bound=Component)


class Hub(pluggy.PluginManager):
    """Finds components by kind and name."""

    def __init__(self, catalogue: Catalogue | None = None, files: Iterable[str | Path] = ()) -> None:
        super().__init__("deepsight")
        self.add_hookspecs(hookspecs)
        self.catalogue = catalogue or discover()
        self._classes: dict[tuple[str, str], tuple[type[Component], str]] = {}
        self._loaded: dict[str, PluginError | None] = {}
        for file in files:
            self._load_file(Path(file))

    # --- Components -------------------------------------------------------------------------

    def get(self, kind: str, name: str) -> type[Component]:
        """The class behind an address.

        Raises UnknownComponent, ConflictingPlugins, BrokenPlugin or InvalidPlugin; none of them affects other plugins.
        """
        if (kind, name) not in self._classes:
            offers = [offer for offer in self.catalogue.find(kind, name) if not offer.blocked]
            if not offers:
                raise UnknownComponent(self._unknown(kind, name))
            if len(offers) > 1:
                origins = " and ".join(offer.origin for offer in offers)
                raise ConflictingPlugins(
                    f"{kind} {name!r} is offered by {origins}; uninstall one, or set {BLOCK} to the one to ignore"
                )
            self._load(offers[0])
            if (kind, name) not in self._classes:
                raise InvalidPlugin(
                    f"{offers[0].origin} announces {kind} {name!r}, but its {hookspecs.PROVIDERS[kind]} hook does not "
                    "return it"
                )
        return self._classes[kind, name][0]

    def create(self, kind: str, spec: Spec | Component) -> Component:
        """A component from its name, or from a table with its name and options. Raises ConfigError for a bad option."""
        if isinstance(spec, Component):
            self._classes.setdefault((spec.kind, spec.name), (type(spec), "this process"))
            return spec
        name, options = parse_spec(kind, spec)
        cls = self.get(kind, name)
        try:
            return cls(**options)
        except ValidationError as error:
            raise ConfigError(_explain(cls, error)) from None

    def adopt(self, *classes: type[Component]) -> None:
        """Offer classes defined in this process, without packaging."""
        for cls in classes:
            self._classes[cls.kind, cls.name] = (cls, "this process")

    def origin(self, component: Component) -> dict[str, Any]:
        """Where a component comes from, for the manifest."""
        entry = self._classes.get((component.kind, component.name))
        source = entry[1] if entry else "this process"
        return {"from": source, "comparability": component.version}

    def names(self, kind: str) -> list[str]:
        known = {name for k, name in self._classes if k == kind}
        return sorted(known | {offer.name for offer in self.catalogue.offers if offer.kind == kind})

    def check(self, offer: Offer) -> PluginError | None:
        """Load an offer's plugin and say what is wrong with it, if anything."""
        try:
            if offer.kind == "observer":
                self._load(offer)
            else:
                self.get(offer.kind, offer.name)
        except PluginError as error:
            return error
        return None

    # --- Observers --------------------------------------------------------------------------

    def load_observers(self) -> None:
        for offer in self.catalogue.offers:
            if offer.kind == "observer" and not offer.blocked:
                try:
                    self._load(offer)
                except PluginError as error:
                    log.warning("%s", error)

    def notify(self, hook: str, **arguments: Any) -> None:
        """Tell every observer; one that raises is logged and skipped."""
        for impl in getattr(self.hook, hook).get_hookimpls():
            try:
                impl.function(*(arguments[name] for name in impl.argnames))
            except Exception:
                log.exception("observer %s failed in %s and was skipped", impl.plugin_name, hook)

    def observes(self, hook: str) -> bool:
        return bool(getattr(self.hook, hook).get_hookimpls())

    # --- Loading ----------------------------------------------------------------------------

    def _load(self, offer: Offer) -> None:
        if offer.module not in self._loaded:
            try:
                self._register(self._import(offer), offer.origin, self._allowed(offer))
                self._loaded[offer.module] = None
            except PluginError as error:
                self._loaded[offer.module] = error
        if failure := self._loaded[offer.module]:
            raise failure

    def _import(self, offer: Offer) -> ModuleType:
        try:
            return import_module(offer.module)
        except (Exception, SystemExit) as error:  # importing a stranger's code may fail in any way
            raise BrokenPlugin(
                f"plugin {offer.origin} cannot be imported ({offer.module}: {type(error).__name__}: {error}); "
                f"reinstall or uninstall it, or set {BLOCK}={offer.distribution}"
            ) from error

    def _allowed(self, offer: Offer) -> set[tuple[str, str]]:
        """What may be taken in with an offer's module: all that it offers, less what is blocked or in conflict."""
        return {
            (other.kind, other.name)
            for other in self.catalogue.offers
            if other.module == offer.module and not other.blocked and other.address not in self.catalogue.conflicts
        }

    def _load_file(self, path: Path) -> None:
        spec = spec_from_file_location(f"deepsight_local_{path.stem}_{len(self.get_plugins())}", path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise ConfigError(f"--plugin {path}: no such Python file")
        module = module_from_spec(spec)
        sys.modules[spec.name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise BrokenPlugin(f"plugin file {path} cannot be imported: {type(error).__name__}: {error}") from error
        self._register(module, f"file {path.name}")

    def _register(self, module: ModuleType, origin: str, allowed: set[tuple[str, str]] | None = None) -> None:
        """Register a module and take in what its provider hooks return (only `allowed`, if given); undone when any of
        it is invalid."""
        self._refuse_unmarked(module, origin)
        try:
            self.register(module, name=module.__name__)
            self.check_pending()
            found = [
                (kind, cls)
                for kind, hook in hookspecs.PROVIDERS.items()
                if (provider := self._own(module, hook)) is not None
                for cls in self._provided(provider, kind, hook, origin)
            ]
        except Exception as error:
            if self.is_registered(module):
                self.unregister(module)
            if isinstance(error, InvalidPlugin):
                raise
            raise InvalidPlugin(f"plugin {origin} does not keep the contract: {error}") from error
        self._classes.update(
            {(kind, cls.name): (cls, origin) for kind, cls in found if allowed is None or (kind, cls.name) in allowed}
        )

    def _own(self, module: ModuleType, hook: str) -> Callable[[], Any] | None:
        for impl in getattr(self.hook, hook).get_hookimpls():
            if impl.plugin is module:
                return cast(Callable[[], Any], impl.function)
        return None

    def _provided(self, provider: Callable[[], Any], kind: str, hook: str, origin: str) -> list[type[Component]]:
        base = KINDS[kind]
        provided = provider()
        if isinstance(provided, (str, bytes)) or not isinstance(provided, Iterable):
            raise InvalidPlugin(f"plugin {origin}: {hook} must return an iterable of classes, not {provided!r}")
        classes = list(provided)
        for cls in classes:
            if not (inspect.isclass(cls) and issubclass(cls, base)):
                raise InvalidPlugin(f"plugin {origin}: {hook} returned {cls!r}, which is not a {base.__name__} class")
            if not cls.name:
                raise InvalidPlugin(f"plugin {origin}: {cls.__name__} has no name; set `name = ...` in its body")
        return classes

    def _refuse_unmarked(self, module: ModuleType, origin: str) -> None:
        for name, value in vars(module).items():
            if name.startswith("deepsight_") and inspect.isfunction(value) and not hasattr(value, "deepsight_impl"):
                raise InvalidPlugin(f"plugin {origin}: {name} is not marked; write @hookimpl above it")

    def _unknown(self, kind: str, name: str) -> str:
        if kind not in KINDS:
            return f"there is no kind of component {kind!r}; the kinds are {', '.join(KINDS)}"
        if self.catalogue.find(kind, name):
            return f"{kind} {name!r} is installed but blocked by {LOAD} or {BLOCK}"
        known = self.names(kind)
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"installed: {', '.join(known) or 'none'}."
        faults = "".join(f" {fault.distribution} is broken: {fault.cause}." for fault in self.catalogue.faults)
        return (
            f"no {kind} named {name!r}; {hint} It may be in a package deepsight-{name} that is not installed.{faults}"
        )


def parse_spec(kind: str, spec: Spec) -> tuple[str, dict[str, Any]]:
    """Name and options of a component reference."""
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping) and isinstance(spec.get("name"), str):
        return spec["name"], {key: value for key, value in spec.items() if key != "name"}
    raise ConfigError(f"a {kind} is given by its name or by a table with a name, not by {spec!r}")


def _explain(cls: type[Component], error: ValidationError) -> str:
    """Pydantic's complaint in one line; the offending values are left out, for they may be secrets."""
    complaints = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            close = get_close_matches(where, cls.model_fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(cls.model_fields) or 'none'}"
            complaints.append(f"unknown option {where!r} ({hint})")
        else:
            complaints.append(f"option {where!r}: {item['msg']}" if where else item["msg"])
    return f"{cls.kind} {cls.name!r}: " + "; ".join(complaints)
