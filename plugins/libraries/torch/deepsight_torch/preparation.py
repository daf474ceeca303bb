"""Check edits against a model before it runs, and turn each into the changes that it makes, site by site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deepsight_core.edits import Ablate, Add, Edit, Floats, Patch, Scale, Units
from deepsight_core.errors import DiagnosticError
from deepsight_torch.changes import Ablation, Addition, Change, Replacement, Scaling, orthonormal
from deepsight_torch.sites import Place, Sites

EDITABLE = ("embed", "resid_in", "resid_mid", "resid_out", "attn_out", "mlp_out", "head", "neuron", "final")
"""Sites through which every token passes once, on its way to the answer."""


def prepared(sites: Sites, edit: Edit) -> dict[Place, Change]:
    """Raises DiagnosticError, naming the kind of edit and the site, for whatever does not fit the model."""
    try:
        layers = _layers(sites, edit)
        if isinstance(edit, Add):
            return _additions(sites, edit, layers)
        if isinstance(edit, Ablate):
            return _ablations(sites, edit, layers)
        if isinstance(edit, Scale):
            return _scalings(sites, edit, layers)
        return _replacements(sites, edit, layers)
    except DiagnosticError as error:
        raise DiagnosticError(f"{type(edit).__name__} at {edit.site}: {error}") from None


def uniform(edit: Edit) -> bool:
    """Whether it does the same to all rows of a batch."""
    if isinstance(edit, Patch):
        return False
    if isinstance(edit, Scale):
        return not isinstance(edit.factor, Mapping) and not isinstance(edit.units, Mapping)
    return not isinstance(edit.dose, Mapping)


def _layers(sites: Sites, edit: Edit) -> tuple[int | None, ...]:
    if edit.site not in EDITABLE and not (edit.site == "router" and isinstance(edit, Scale)):
        raise DiagnosticError(f"cannot be edited there; edit one of {', '.join(EDITABLE)}, or Scale at router")
    found = sites.layers(edit.site)
    if not found:
        raise DiagnosticError(f"this model has no such site: {sites.reason(edit.site)}")
    if edit.layers is None or found == (None,):
        return found
    if not edit.layers or len(set(edit.layers)) < len(edit.layers):
        raise DiagnosticError(f"layers are {edit.layers}: name each layer once, or give None for all of them")
    for layer in edit.layers:
        sites.tap(edit.site, layer)
    return edit.layers


def _additions(sites: Sites, edit: Add, layers: Sequence[int | None]) -> dict[Place, Change]:
    _check_numbers("dose", edit.dose)
    vectors = np.asarray(edit.vector)
    if vectors.ndim == 1:
        vectors = np.broadcast_to(vectors, (len(layers), len(vectors)))
    changes: dict[Place, Change] = {}
    for place, vector in zip(_places(edit, layers), vectors, strict=False):
        _check_array("vector", vectors, (len(layers), sites.tap(*place).width))
        changes[place] = Addition(vector, edit.dose, edit.scope)
    return changes


def _ablations(sites: Sites, edit: Ablate, layers: Sequence[int | None]) -> dict[Place, Change]:
    _check_numbers("dose", edit.dose)
    directions = np.atleast_2d(np.asarray(edit.directions))
    for place in _places(edit, layers):
        width = sites.tap(*place).width
        _check_array("directions", directions, (len(directions), width))
        _check_towards(edit.towards, width)
    change = Ablation(orthonormal(directions), edit.towards, edit.dose, edit.scope)
    return dict.fromkeys(_places(edit, layers), change)


def _scalings(sites: Sites, edit: Scale, layers: Sequence[int | None]) -> dict[Place, Change]:
    _check_numbers("factor", edit.factor)
    changes: dict[Place, Change] = {}
    for place in _places(edit, layers):
        width, unit_width = sites.tap(*place).width, _unit_width(sites, place)
        _check_towards(edit.towards, width)
        _check_units(edit.units, width // unit_width)
        if edit.site == "router":
            _check_experts(sites, edit, place[1])
        changes[place] = Scaling(edit.factor, edit.units, unit_width, edit.towards, edit.scope)
    return changes


def _check_experts(sites: Sites, edit: Scale, layer: int | None) -> None:
    if edit.towards is not None:
        raise DiagnosticError("towards has no meaning for the contribution of an expert: leave it out")
    assert layer is not None
    alike = uniform(edit) and edit.scope == "all"
    if sites.experts(layer).form == "listed" and not alike:
        raise DiagnosticError(
            f"block {layer} hands its experts tokens in an order of its own: give all rows and tokens the same factor"
        )


def _replacements(sites: Sites, edit: Patch, layers: Sequence[int | None]) -> dict[Place, Change]:
    if not edit.source:
        raise DiagnosticError("source is empty: give the activations of at least one prompt id")
    changes: dict[Place, Change] = {}
    for number, place in enumerate(_places(edit, layers)):
        width, unit_width = sites.tap(*place).width, _unit_width(sites, place)
        _check_units(edit.units, width // unit_width)
        for id, array in edit.source.items():
            positions = np.shape(array)[1] if np.ndim(array) == 3 else 1
            _check_array(f"source of {id!r}", np.asarray(array), (len(layers), positions, width))
        source = {id: np.asarray(array)[number] for id, array in edit.source.items()}
        changes[place] = Replacement(source, edit.units, unit_width)
    return changes


def _places(edit: Edit, layers: Sequence[int | None]) -> list[Place]:
    return [(edit.site, layer) for layer in layers]


def _unit_width(sites: Sites, place: Place) -> int:
    return sites.tap(*place).width // sites.heads if place[0] == "head" else 1


def _check_array(name: str, array: Floats, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise DiagnosticError(f"{name} has shape {array.shape}, but {shape} is needed")
    if not np.isfinite(array).all():
        raise DiagnosticError(f"{name} holds NaN or infinity")


def _check_towards(towards: Floats | None, width: int) -> None:
    if towards is not None:
        _check_array("towards", np.asarray(towards), (width,))


def _check_numbers(name: str, numbers: float | Mapping[str, float]) -> None:
    for number in numbers.values() if isinstance(numbers, Mapping) else [numbers]:
        if not np.isfinite(number):
            raise DiagnosticError(f"{name} is {number}: give a finite number")


def _check_units(units: Units | None, count: int) -> None:
    every = () if units is None else units.values() if isinstance(units, Mapping) else (units,)
    for unit in (unit for some in every for unit in some):
        if not 0 <= unit < count:
            raise DiagnosticError(f"unit {unit} is out of range: there are units 0 to {count - 1}")
