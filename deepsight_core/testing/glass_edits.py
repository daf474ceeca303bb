"""What edits do to the activations of the model of glass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deepsight_core.edits import Ablate, Add, Dose, Edit, Patch, Scale
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Floats

STREAM = ("resid_in", "resid_mid", "resid_out")
WRITERS = ("embed", "attn_out", "mlp_out")


def check_uniform(edits: Sequence[Edit]) -> None:
    """Raises DiagnosticError for edits that differ between prompts."""
    for edit in edits:
        numbers = (getattr(edit, name, None) for name in ("dose", "factor", "units"))
        if isinstance(edit, Patch) or any(isinstance(number, Mapping) for number in numbers):
            raise DiagnosticError("edits by prompt id cannot be left open: give one dose for all")


def changed(vectors: Floats, site: str, layer: int | None, id: str, edits: Sequence[Edit], answer: int) -> Floats:
    """(tokens, width) of one prompt at one site under the edits, whose answer begins at token `answer`.

    Additions to the residual stream and ablations from it last in the later layers; scaling and patches change their
    own site alone.
    """
    for edit in edits:
        chosen = np.zeros(len(vectors), dtype=bool)
        scope = getattr(edit, "scope", "all")
        chosen[{"all": slice(None), "prompt": slice(answer), "answer": slice(answer, None)}[scope]] = True
        if isinstance(edit, Add) and _reaches(edit, site, layer):
            vectors = vectors + chosen[:, None] * _dose(edit.dose, id) * _vector(edit, layer)
        elif isinstance(edit, Ablate) and _reaches(edit, site, layer):
            basis = np.linalg.qr(np.atleast_2d(edit.directions).T.astype(float))[0]
            away = (vectors if edit.towards is None else vectors - edit.towards) @ basis @ basis.T
            vectors = vectors - chosen[:, None] * _dose(edit.dose, id) * away
        elif isinstance(edit, Scale) and _at(edit, site, layer):
            factor = edit.factor.get(id, 1.0) if isinstance(edit.factor, Mapping) else edit.factor
            towards = 0.0 if edit.towards is None else edit.towards
            vectors = np.where(chosen[:, None], towards + factor * (vectors - towards), vectors)
        elif isinstance(edit, Patch) and _at(edit, site, layer) and id in edit.source:
            source = edit.source[id][0 if edit.layers is None or layer is None else edit.layers.index(layer)]
            vectors = np.concatenate([vectors[: len(vectors) - len(source)], source])
    return vectors


def _at(edit: Edit, site: str, layer: int | None) -> bool:
    return edit.site == site and (edit.layers is None or layer is None or layer in edit.layers)


def _reaches(edit: Add | Ablate, site: str, layer: int | None) -> bool:
    """Whether an edit is felt at a site: there, and, when it is made to the stream, in the stream from there on."""
    if edit.site not in (*STREAM, *WRITERS) or site not in (*STREAM, "final"):
        return _at(edit, site, layer)
    first = 0 if edit.site == "embed" or edit.layers is None else min(edit.layers)
    return site == "final" or layer is None or layer >= first


def _dose(dose: Dose, id: str) -> float:
    return dose.get(id, 0.0) if isinstance(dose, Mapping) else dose


def _vector(edit: Add, layer: int | None) -> Floats:
    vector = np.asarray(edit.vector, dtype=float)
    if vector.ndim == 1:
        return vector
    row = edit.layers.index(layer) if edit.layers and layer in edit.layers else (layer or 0) if not edit.layers else -1
    return np.asarray(vector[row])
