"""Let a model write greedily, under edits that may differ between the rows of a batch.

For experiments: no sampling, no streams, and batches that are made once. Requests of a benchmark are the adapter's.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

from deepsight_core.edits import Edit, Patch, Scale
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Prompt, Written
from deepsight_torch.editing import Editing
from deepsight_torch.forward import forgetting, prefix_cache
from deepsight_torch.pictures import Pictures
from deepsight_torch.rendering import Rendered, Renderer
from deepsight_torch.sites import Sites
from deepsight_torch.tensors import evaluating

LEAVING = 4
"""Rows that have ended leave a batch when they are at least one in so many."""


@dataclass(eq=False)
class Draft:
    """An answer that is being written, for all prompts that get the same one."""

    text: Rendered
    prompts: list[str]
    limit: int
    """Most tokens to write."""
    tokens: list[int] = field(default_factory=list)
    ended: bool = False

    @property
    def ids(self) -> tuple[int, ...]:
        """Of the prompt."""
        return self.text.ids

    @property
    def open(self) -> bool:
        return not self.ended and len(self.tokens) < self.limit

    @property
    def length(self) -> int:
        return len(self.ids) + len(self.tokens)


class Writer:
    """Writes with one model, whose batches hold at most `token_budget` tokens, answers and padding included.

    Raises DiagnosticError for a family without an attention cache.
    """

    def __init__(self, sites: Sites, renderer: Renderer, context: int | None, token_budget: int) -> None:
        self.sites, self.renderer = sites, renderer
        self.context, self.token_budget = context, token_budget
        self._accepted = inspect.signature(sites.model.forward).parameters
        if "past_key_values" not in self._accepted:
            raise DiagnosticError(f"{type(sites.model).__name__} keeps no attention cache: it cannot be decoded with")
        self._ends = _ends(sites.model, renderer.tokenizer)

    def write(
        self, prompts: Sequence[Prompt], max_tokens: int, edits: Sequence[Edit] = (), raw: bool = False
    ) -> tuple[Written, ...]:
        """One answer a prompt, in their order. Texts that are equal and edited alike are written once.

        Raises DiagnosticError for edits that do not fit the model, for a prompt that leaves no room in the context, and
        for logits that are not finite.
        """
        if max_tokens < 1:
            raise DiagnosticError(f"max_tokens must be at least 1, not {max_tokens}")
        editing = Editing(self.sites, edits)
        drafts: dict[object, Draft] = {}
        for prompt in prompts:
            text = self.renderer.prompt(prompt.messages, raw=raw)
            editing.locate(prompt.id, text)
            limit = self._limit(prompt.id, text, max_tokens)
            key = text.ids, text.pictures, _treatment(edits, prompt.id)
            draft = drafts.setdefault(key, Draft(text, [], limit))
            draft.prompts.append(prompt.id)
        for batch in self._batches(list(drafts.values())):
            with evaluating(self.sites.model), forgetting(self.sites.model.base_model):
                self._write(batch, editing)
        written = {id: draft for draft in drafts.values() for id in draft.prompts}
        return tuple(self._written(prompt.id, written[prompt.id]) for prompt in prompts)

    def _limit(self, id: str, text: Rendered, max_tokens: int) -> int:
        if not len(text):
            raise DiagnosticError(f"prompt {id!r} has no tokens, so there is nothing to go on from")
        room = max_tokens if self.context is None else self.context - len(text)
        if room < 1:
            raise DiagnosticError(
                f"prompt {id!r}: {len(text)} tokens leave no room for an answer in the context of {self.context}"
            )
        return min(room, max_tokens)

    def _batches(self, drafts: Sequence[Draft]) -> Iterator[list[Draft]]:
        """Longest prompts first, after those with images, one by one. Recurrent layers would read padding, so that
        their batches hold one length each."""
        padded = all(
            isinstance(layer, DynamicLayer) and not isinstance(layer, LinearAttentionCacheLayerMixin)
            for layer in prefix_cache(self.sites.model.config).layers
        )
        yield from ([draft] for draft in drafts if draft.text.pictures)
        written = [draft for draft in drafts if not draft.text.pictures]
        waiting = sorted(written, key=lambda draft: len(draft.ids), reverse=True)
        while waiting:
            longest = waiting[0]
            size = max(1, self.token_budget // (len(longest.ids) + longest.limit))
            alike = [draft for draft in waiting[:size] if padded or len(draft.ids) == len(longest.ids)]
            yield alike
            waiting = waiting[len(alike) :]

    def _write(self, drafts: list[Draft], editing: Editing) -> None:
        width, pictures = max(len(draft.ids) for draft in drafts), drafts[0].text.pictures
        seen = pictures.arguments(width, self.sites.device, self.sites.dtype) if pictures else {}
        cache = prefix_cache(self.sites.model.config)
        ids = torch.tensor([[draft.ids[0]] * (width - len(draft.ids)) + list(draft.ids) for draft in drafts])
        mask = torch.tensor([[0] * (width - len(draft.ids)) + [1] * len(draft.ids) for draft in drafts])
        with _edited(editing, drafts, columns=width):
            self._extend(drafts, self._read(ids, mask, cache, pictures, seen))
        while writing := [place for place, draft in enumerate(drafts) if draft.open]:
            if LEAVING * (len(drafts) - len(writing)) >= len(drafts):
                cache.reorder_cache(torch.tensor(writing, device=self.sites.device))
                mask, drafts = mask[writing], [drafts[place] for place in writing]
            mask = torch.cat([mask, mask.new_ones(len(drafts), 1)], dim=1)
            ids = torch.tensor([[draft.tokens[-1]] for draft in drafts])
            with _edited(editing, drafts, columns=1):
                logits = self._read(ids, mask, cache, pictures)
            self._extend(drafts, logits)

    def _read(
        self, ids: Tensor, mask: Tensor, cache: Any, pictures: Pictures | None, seen: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Logits of the last column, (rows, vocabulary). `mask` covers what the cache holds as well; it grows. `seen`
        is what the model takes in besides tokens."""
        device = self.sites.device
        offered: dict[str, Any] = {"logits_to_keep": 1}
        if not pictures:  # else the model places image tokens by their rows and columns
            offered["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :].to(device)
        taken = {name: value for name, value in offered.items() if name in self._accepted}
        output = self.sites.model(
            input_ids=ids.to(device),
            attention_mask=None if pictures else mask.to(device),  # one row has no padding
            past_key_values=cache,
            use_cache=True,
            **taken,
            **(seen or {}),
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _extend(self, drafts: Sequence[Draft], logits: Tensor) -> None:
        finite = logits.isfinite().all(-1).tolist()
        for draft, token, sound in zip(drafts, logits.argmax(-1).tolist(), finite, strict=True):
            if not draft.open:  # it waits for others to end
                continue
            if not sound:
                raise DiagnosticError(
                    f"the logits hold NaN or infinity for prompt {draft.prompts[0]!r}: weaken the edits, or open the "
                    "model in a wider dtype (float32)"
                )
            draft.tokens.append(token)
            draft.ended = token in self._ends

    def _written(self, id: str, draft: Draft) -> Written:
        text: str = self.renderer.tokenizer.decode(
            draft.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return Written(id, text, tuple(draft.tokens), draft.ended)


def _edited(editing: Editing, drafts: Sequence[Draft], columns: int) -> Any:
    """Around the pass that reads the last `columns` columns of these drafts, which end in the same column."""
    return editing.batch(
        ids=[draft.prompts[0] for draft in drafts],
        starts=[columns - draft.length for draft in drafts],
        lengths=[draft.length for draft in drafts],
        answers=[len(draft.ids) for draft in drafts],
    )


def _treatment(edits: Sequence[Edit], id: str) -> tuple[object, ...]:
    """What edits do to one prompt and not to all of them; prompts of equal treatment may share an answer."""
    own: list[object] = []
    for edit in edits:
        if isinstance(edit, Patch):
            own.append(id if id in edit.source else None)
            continue
        dose, absent = (edit.factor, 1.0) if isinstance(edit, Scale) else (edit.dose, 0.0)
        own.append(dose.get(id, absent) if isinstance(dose, Mapping) else None)
        if isinstance(edit, Scale):
            own.append(edit.units.get(id, ()) if isinstance(edit.units, Mapping) else None)
    return tuple(own)


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """All tokens that end an answer: those of the generation configuration, and the tokenizer's own."""
    named = model.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [named]
    return frozenset(token for token in (*listed, tokenizer.eos_token_id) if token is not None)
