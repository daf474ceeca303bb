"""Change what passes through a model while it runs, and leave nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from deepsight_core.edits import Edit, Patch
from deepsight_core.errors import DiagnosticError
from deepsight_torch.changes import Change, Replacement
from deepsight_torch.experts import Experts
from deepsight_torch.preparation import prepared, uniform
from deepsight_torch.reach import BatchReach, Reach, UniformReach
from deepsight_torch.reading import places
from deepsight_torch.rendering import Rendered
from deepsight_torch.sites import Place, Sites, Tap
from deepsight_torch.tensors import first, first_input, put_back, put_first_input

Now = Callable[[], Reach | None]
"""The reach of the pass that is going on in this thread; None where it is none of ours."""


class Editing:
    """Edits, checked against a model and ready to be made. Several at one site are made in the order given.

    Raises DiagnosticError for a site or layer that the model lacks, for arrays of another shape, for heads, neurons or
    experts out of range, and for numbers that are not finite.
    """

    def __init__(self, sites: Sites, edits: Sequence[Edit]) -> None:
        self.sites = sites
        self.edits = tuple(edits)
        self.uniform = all(map(uniform, edits))
        """Whether all rows of a batch get the same."""
        self._changes: dict[Place, list[Change]] = {}
        self._patches: list[tuple[Patch, list[Replacement]]] = []
        for edit in edits:
            changes = prepared(sites, edit)
            for place, change in changes.items():
                self._changes.setdefault(place, []).append(change)
            if isinstance(edit, Patch):
                self._patches.append((edit, [c for c in changes.values() if isinstance(c, Replacement)]))

    @property
    def lowest(self) -> int:
        """The first block whose input or inside is changed; what lies below it is as in the model itself."""
        blocks = len(self.sites.blocks)
        below = {"embed": 0, "final": blocks}
        return min((below.get(kind, layer or 0) for kind, layer in self._changes), default=blocks)

    def parting(self, ids: Sequence[str]) -> int | None:
        """The first token at which rows of these prompts, once located, may get something different: that of the first
        patch, or 0 where a number or unit differs between rows; None for edits that are the same for all."""
        if self.uniform:
            return None
        if not all(uniform(edit) or isinstance(edit, Patch) for edit in self.edits):
            return 0
        chosen, places = set(ids), [step.tokens for _, replacements in self._patches for step in replacements]
        return min((tokens[0] for found in places for id, tokens in found.items() if id in chosen), default=0)

    def locate(self, id: str, text: Rendered, truncate: int | None = None) -> None:
        """Say which text a prompt id stands for in the passes that follow, so that patches find their positions.

        Raises DiagnosticError when the text lacks them, or has more or fewer than the source.
        """
        for patch, replacements in self._patches:
            if id not in patch.source:
                continue
            try:
                tokens = places(patch.positions, text, truncate)
            except DiagnosticError as error:
                raise DiagnosticError(f"prompt {id!r}: {error}") from None
            if (given := patch.source[id].shape[1]) != len(tokens):
                raise DiagnosticError(
                    f"Patch at {patch.site}: the source of prompt {id!r} has {given} positions, but its text has "
                    f"{len(tokens)} at {patch.positions.type!r}"
                )
            for replacement in replacements:
                replacement.tokens[id] = tokens

    @contextmanager
    def batch(
        self, ids: Sequence[str], starts: Sequence[int], lengths: Sequence[int], answers: Sequence[int]
    ) -> Iterator[None]:
        """Put around one forward pass of one batch in this thread, outside of anything that looks at it.

        By row of the batch: the prompt's id; the column, of those that this pass computes, of its token 0 (negative
        where its beginning was read before); how many tokens it has; the index of the first one of its answer (the
        length where it has none). Padding stays as it is. Raises DiagnosticError for a patch whose prompt was not
        located.
        """
        for patch, replacements in self._patches:
            if lost := [id for id in ids if id in patch.source and id not in replacements[0].tokens]:
                raise DiagnosticError(f"Patch at {patch.site}: the text of prompt {lost[0]!r} is not known")
        reach, thread = BatchReach(ids, starts, lengths, answers), threading.get_ident()
        with self._hooks(lambda: reach if threading.get_ident() == thread else None):
            yield

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """While open, every forward pass is edited, in whatever thread.

        Nothing is known of such a pass but its shape: with more than one new column it reads a prompt, with one it
        writes an answer. Raises DiagnosticError for edits that differ between rows.
        """
        for edit in self.edits:
            if not uniform(edit):
                raise DiagnosticError(
                    f"{type(edit).__name__} at {edit.site} differs between prompts, which requests do not name: "
                    "give one dose for all of them, or use run or generate"
                )
        passes = threading.local()

        def note(tensor: Tensor) -> None:
            passes.reach = UniformReach(tensor.shape[1])

        handle = self.sites.tap("embed", None).register(note)
        try:
            with self._hooks(lambda: getattr(passes, "reach", None)):
                yield
        finally:
            handle.remove()

    @contextmanager
    def _hooks(self, now: Now) -> Iterator[None]:
        with ExitStack() as stack:
            for kind, layer in self._changes:
                if kind == "resid_mid":
                    stack.enter_context(self._carried(layer, now))
            for place, changes in self._changes.items():
                tap = self.sites.tap(*place)
                if place[0] == "router" and place[1] is not None:
                    for handle in _weighed(self.sites.experts(place[1]), changes, now):
                        stack.callback(handle.remove)
                elif place[0] != "resid_mid":
                    stack.callback(replace(tap, _changing(tap, changes, now)).remove)
            yield

    @contextmanager
    def _carried(self, layer: int | None, now: Now) -> Iterator[None]:
        """Edits of the stream between attention and MLP.

        The module that is hooked there reads the stream for the MLP alone, so that the difference is added once more
        where the block ends.
        """
        middle, end = self.sites.tap("resid_mid", layer), self.sites.tap("resid_out", layer)
        change = _changing(middle, self._changes["resid_mid", layer], now)
        differences: dict[int, Tensor] = {}

        def edit(tensor: Tensor) -> Tensor:
            changed = change(tensor)
            differences[threading.get_ident()] = changed - tensor
            return changed

        def carry(tensor: Tensor) -> Tensor:
            difference = differences.pop(threading.get_ident(), None)
            return tensor if difference is None else tensor + difference.reshape(tensor.shape)

        with ExitStack() as stack:
            stack.callback(replace(middle, edit).remove)
            stack.callback(replace(end, carry).remove)
            yield


def replace(tap: Tap, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
    """Put `change(tensor)` in place of what passes a tap, whenever it passes."""

    def on_input(module: nn.Module, args: Any, kwargs: Any) -> Any:
        tensor = first_input(args, kwargs)
        return None if tensor is None else put_first_input(args, kwargs, change(tensor))

    def on_output(module: nn.Module, args: Any, output: Any) -> Any:
        tensor = first(output)
        return None if tensor is None else put_back(output, change(tensor))

    if tap.side == "in":
        return tap.module.register_forward_pre_hook(on_input, with_kwargs=True)
    return tap.module.register_forward_hook(on_output)


def _weighed(experts: Experts, changes: Sequence[Change], now: Now) -> list[RemovableHandle]:
    """Scale what the experts of one block contribute, each by its own factor."""

    def weigh(weights: Tensor, chosen: Tensor) -> Tensor:
        if (reach := now()) is None:
            return weights
        # Of listed experts no token's row is known; their edits are the same for all.
        tokens, reach = (1, UniformReach(1)) if experts.form == "listed" else (len(weights), reach)
        factors = reach.shaped(weights.new_ones((tokens, experts.count), dtype=torch.float32), experts.count)
        for step in changes:
            factors = step(factors, reach)
        factors = factors.reshape(tokens, -1).expand(len(weights), -1)
        return weights * factors.gather(1, chosen).to(weights.dtype)

    return experts.register(weigh)


def _changing(tap: Tap, changes: Sequence[Change], now: Now) -> Callable[[Tensor], Tensor]:
    """All changes at one tap: computed on the site's value, in float32 at least, and handed back as what passes.

    What the changes leave as it was stays what it was, to the bit.
    """

    def change(tensor: Tensor) -> Tensor:
        if (reach := now()) is None:
            return tensor
        passing = reach.shaped(tensor, tap.width)
        value = passing.to(torch.promote_types(passing.dtype, torch.float32)) * tap.scale
        changed = value
        for step in changes:
            changed = step(changed, reach)
        edited = torch.where(changed == value, passing, (changed / tap.scale).to(passing.dtype))
        return edited.reshape(tensor.shape)

    return change
