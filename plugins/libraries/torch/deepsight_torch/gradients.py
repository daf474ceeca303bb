"""The gradient of the refusal score with respect to activations: one forward and one backward pass a batch.

The score is the log-odds that the answer opens with one of some tokens (Arditi et al. 2024, arXiv:2406.11717, section
2.4). Times the difference of two activations, its gradient estimates what patching the one by the other would do
(attribution patching: Nanda 2023; Kramar et al. 2024, arXiv:2403.00745).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from deepsight_core.edits import Edit
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import ODDS_FLOOR, Acts, Array, Keep, Prompt, Rows, Want
from deepsight_torch.capture import batches, padded
from deepsight_torch.collecting import Collector
from deepsight_torch.editing import Editing, replace
from deepsight_torch.guard import difference
from deepsight_torch.memory import allowed
from deepsight_torch.plan import Planner
from deepsight_torch.preparation import EDITABLE
from deepsight_torch.results import Results
from deepsight_torch.sites import Place, Sites
from deepsight_torch.streams import Layers, Pass, Row
from deepsight_torch.tensors import differentiating


def gradients(
    sites: Sites,
    planner: Planner,
    wants: Sequence[Want],
    prompts: Sequence[Prompt],
    tokens: Sequence[int],
    edits: Sequence[Edit] = (),
    limit: int | None = None,
) -> Acts:
    """d score / d x at each want, in the shape of what `run` gives for it; see `deepsight_core.inside.Inside`.

    `limit`, in bytes, is what the graph may hold. It is found out on the longest text, which is read alone first;
    `Acts.error` is how far its gradients in a batch are from these.
    """
    wants = tuple(dict.fromkeys(wants))
    for want in wants:
        _check(want)
    _check_tokens(sites, tokens)
    editing = Editing(sites, edits) if edits else None
    plan = planner.plan(wants, prompts, distinct=editing is None)
    arrays: dict[Want, Array] = {}
    ragged: dict[Want, tuple[Array, ...]] = {}
    layers: dict[Want, Layers] = {}
    worst = 0.0
    for one in plan.passes:
        results = Results(one, prompts, {})
        worst = max(worst, Backward(sites, one, tokens, editing).fill(results, planner.token_budget, limit))
        for want in one.wants:
            number = one.stream(want)
            layers[want] = planner.layers(want)
            if one.streams[number].positions is None:
                ragged[want] = results.each(want, number)
            else:
                arrays[want] = results.stacked(want, number)
    captured = {"computed": len(prompts)}
    return Acts(tuple(prompt.id for prompt in prompts), arrays, layers, plan.lengths, worst, captured, ragged)


class Slopes(Collector):
    """While open, gathers gradients: what flows back through the places that the streams name."""

    def _hook(self, place: Place, slots: Sequence[tuple[int, int]]) -> Callable[[Tensor], None]:
        scale = self.sites.tap(*place).scale

        def hook(tensor: Tensor) -> None:
            shape = self._whole(place, tensor)
            if shape is None:
                return
            self.missing.discard(place)
            keep(torch.zeros_like(tensor).reshape(*shape, -1))  # what the score does not depend on has a gradient of 0
            if tensor.requires_grad:
                tensor.register_hook(lambda slope: keep(slope.reshape(*shape, -1)))  # type: ignore[no-untyped-call]

        def keep(slope: Tensor) -> None:
            for number, column in slots:
                self._kept[number, column] = self._gather(slope, number, 1 / scale)

        return hook


class Backward:
    """One pass over texts, and back."""

    def __init__(self, sites: Sites, one: Pass, tokens: Sequence[int], editing: Editing | None) -> None:
        self.sites, self.one, self.editing = sites, one, editing
        self.tokens = torch.tensor(sorted(set(tokens)))

    def fill(self, results: Results, token_budget: int, limit: int | None) -> float:
        """Put every row in its place, and return the error. Raises DiagnosticError when one text is too much."""
        rows = self.one.rows
        if not rows:
            return 0.0
        for row in rows:
            if self.editing:
                self.editing.locate(row.id, row.text, self.one.truncate)
        longest = max(rows, key=lambda row: len(row.ids))
        room = allowed(self.sites.device, limit)
        with differentiating(self.sites.model):
            with self._weighed(longest, room) as weight:
                ((_, alone),) = self._read([longest])
            budget = min(token_budget, room * len(longest.ids) // max(1, weight[0]))
            for batch in batches(rows, budget):
                for row, arrays in self._read(batch):
                    results.put(row, arrays)
        pairs = zip(self.one.streams, results.get(longest), alone, strict=True)
        return max(difference(stream, found, expected) for stream, found, expected in pairs)

    def _read(self, rows: Sequence[Row]) -> Iterator[tuple[Row, list[Array]]]:
        sites = self.sites
        ids, mask = padded(rows, 0, sites)
        lengths = [len(row.ids) for row in rows]
        editing = self.editing
        edited = (
            editing.batch([row.id for row in rows], [0] * len(rows), lengths, [row.answer for row in rows])
            if editing
            else nullcontext()
        )
        collector = Slopes(sites, self.one.streams, rows, range(len(rows)), lengths, leave=False)
        final: list[Tensor] = []
        with self._graph(), edited, collector:
            handle = sites.tap("final", None).register(final.append)
            try:
                sites.read(ids, mask if sites.needs_mask else None, None, rows[0].text.pictures)
            finally:
                handle.remove()
        last = torch.tensor(lengths, device=final[-1].device) - 1
        states = final[-1].reshape(len(rows), ids.shape[1], -1)[torch.arange(len(rows), device=last.device), last]
        self._score(sites.unembed(states, normed=True)).sum().backward()  # type: ignore[no-untyped-call]
        return collector.results()

    def _score(self, logits: Tensor) -> Tensor:
        """(rows, vocabulary) -> (rows,)."""
        chosen = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
        chosen[self.tokens.to(logits.device)] = True
        total = logits.logsumexp(-1)
        inside, outside = ((logits.masked_fill(~side, -torch.inf).logsumexp(-1) - total) for side in (chosen, ~chosen))
        return (inside.exp() + ODDS_FLOOR).log() - (outside.exp() + ODDS_FLOOR).log()

    @contextmanager
    def _graph(self) -> Iterator[None]:
        """The graph begins at the lowest block that is looked into: nothing is kept of those below."""
        lowest = min((0 if layer is None else layer) for stream in self.one.streams for layer in stream.layers)
        kind: Place = ("resid_in", lowest) if lowest else ("embed", None)
        # a copy, since some families change the embeddings in place, which a leaf does not allow
        handle = replace(self.sites.tap(*kind), lambda passing: passing.detach().requires_grad_().clone())
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def _weighed(self, row: Row, room: int) -> Iterator[list[int]]:
        """Counts, in the first item, the bytes that the graph of one text holds besides the weights."""
        weights = {parameter.untyped_storage().data_ptr() for parameter in self.sites.model.parameters()}
        seen: set[int] = set()
        held = [0]

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights and storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                held[0] += storage.nbytes()
                if held[0] > room:
                    raise DiagnosticError(
                        f"prompt {row.id!r}: gradients through its {len(row.ids)} tokens need more than the "
                        f"{room / 2**30:.2f} GiB allowed: leave out long prompts or low layers, or raise memory_limit"
                    )
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            yield held


def _check(want: Want) -> None:
    if not isinstance(want.reduce, Keep) or not isinstance(want.collect, Rows) or want.text != "prompt":
        raise DiagnosticError('gradients are kept as they are, of the text "prompt": want Keep, Rows and "prompt"')
    if want.site not in EDITABLE:
        raise DiagnosticError(f"there is no gradient at {want.site}; want one of {', '.join(EDITABLE)}")


def _check_tokens(sites: Sites, tokens: Sequence[int]) -> None:
    size = sites.model.config.get_text_config().vocab_size
    if not tokens or not all(0 <= token < size for token in tokens):
        raise DiagnosticError(f"the score needs tokens from 0 to {size - 1}, not {list(tokens)}")
