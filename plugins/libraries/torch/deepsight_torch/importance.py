"""How much the loss on some answers depends on each weight: one backward pass an example gives every layer.

The score of a weight is |W| * sum over examples of |dL/dW| (SNIP, Lee et al. 2019, arXiv:1810.02340). Gradients are
added up in float32 and freed as soon as they are there, so that the accumulators are all that takes memory.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Prompt
from deepsight_core.weights import Importance, Matrix, Place
from deepsight_torch.matrices import Holder
from deepsight_torch.memory import allowed
from deepsight_torch.rendering import Renderer
from deepsight_torch.sites import Sites
from deepsight_torch.tensors import differentiating

MIB = 1 << 20


@dataclass(frozen=True)
class Example:
    """A text and the place of its answer: the loss is the mean cross-entropy of the tokens from `start` on."""

    id: str
    ids: tuple[int, ...]
    start: int


def examples(
    renderer: Renderer, prompts: Sequence[Prompt], raw: bool, drop_first: bool, context: int | None
) -> tuple[Example, ...]:
    """Prompts with their answers, as token ids that end with the answer.

    `drop_first` takes the first token off every answer; with `raw`, off what the tokenizer makes of the answer alone,
    which is its own beginning of a text where it has one, as published. Raises DiagnosticError, naming the prompt, for
    one without an answer, with nothing left of it, or longer than the context.
    """
    return tuple(_example(renderer, prompt, raw, drop_first, context) for prompt in prompts)


def _example(renderer: Renderer, prompt: Prompt, raw: bool, drop_first: bool, context: int | None) -> Example:
    if prompt.answer is None:
        raise DiagnosticError(f"sample {prompt.id!r} has no answer to take the loss of; evaluate it first")
    if raw and drop_first:
        before = renderer.prompt(prompt.messages, raw=True).ids
        ids, start = (*before, *renderer.tokenizer(prompt.answer)["input_ids"][1:]), len(before)
    else:
        text = renderer.exchange(prompt.messages, prompt.answer, tokens=prompt.answer_tokens, raw=raw)
        if text.pictures:
            raise DiagnosticError(f"sample {prompt.id!r} holds images: importance is taken on texts only")
        start, stop = text.spans.get("response", (0, 0))
        ids = (*text.ids[:start], *text.ids[start + drop_first : stop])
    if len(ids) <= start:
        raise DiagnosticError(f"the answer of sample {prompt.id!r} has no token left to take the loss of")
    if not start:
        raise DiagnosticError(f"sample {prompt.id!r} has no token before its answer, so that nothing predicts it")
    if context is not None and len(ids) > context:
        raise DiagnosticError(f"sample {prompt.id!r} has {len(ids)} tokens, more than the context of {context}")
    return Example(prompt.id, ids, start)


def importance(
    sites: Sites,
    cohorts: Mapping[str, Sequence[Example]],
    holders: Sequence[Holder],
    depth: float,
    blocks: int = 1,
    limit: int | None = None,
) -> Importance:
    """Scores of the weights that matter most to any cohort; see `deepsight_core.weights.Importance`.

    `limit`, in bytes, is half of the free memory unless given. Layers whose accumulators do not fit together are swept
    in groups, with the same result. Raises DiagnosticError for an empty cohort, more blocks than a cohort has examples,
    one layer that is more than the limit, and a loss or gradient that is not finite.
    """
    for name, chosen in cohorts.items():
        if len(chosen) < blocks:
            raise DiagnosticError(f"cohort {name!r} has {len(chosen)} examples, too few for {blocks} blocks")
    groups = layer_groups(holders, len(cohorts) * blocks, allowed(holders[0].parameter.device, limit))
    kept: list[tuple[Matrix, NDArray[np.int64], NDArray[np.float32]]] = []
    for group in groups:
        sums = _sweep(sites, cohorts, group, blocks)
        for holder in group:
            kept += _most_important(holder, sums.pop(id(holder.parameter)), depth)
    return Importance(
        cohorts=tuple(cohorts),
        examples={name: len(chosen) for name, chosen in cohorts.items()},
        matrices=tuple(matrix for matrix, _, _ in kept),
        indices=tuple(indices for _, indices, _ in kept),
        scores=tuple(scores for _, _, scores in kept),
        depth=depth,
        sweeps=len(groups),
    )


def layer_groups(holders: Sequence[Holder], accumulators: int, limit: int) -> list[list[Holder]]:
    """Consecutive layers, as many as fit into `limit` bytes with `accumulators` float32 numbers a weight.

    Raises DiagnosticError when one layer does not.
    """
    layers: dict[int, list[Holder]] = {}
    for holder in holders:
        layers.setdefault(holder.layer, []).append(holder)
    groups: list[list[Holder]] = []
    room = 0
    for layer, own in layers.items():
        weights = sum(holder.weights for holder in own)
        size = 4 * accumulators * weights
        if size > limit:
            raise DiagnosticError(
                f"the gradients of layer {layer} take {size // MIB} MiB ({accumulators} accumulators, one for each "
                f"block of each cohort, of {weights} weights and 4 bytes), more than the {limit // MIB} MiB that may "
                "be used; ask for fewer blocks or cohorts, or raise memory_limit"
            )
        if size > room:
            groups.append([])
            room = limit
        groups[-1] += own
        room -= size
    return groups


@contextmanager
def masked(holders: Sequence[Holder], entries: Mapping[Place, NDArray[np.int64]]) -> Iterator[None]:
    """While open, these weights act as zero, whatever adapters add to them; places in the flattened matrix.

    Raises DiagnosticError for a matrix that is not among the holders, or a place outside it.
    """
    changes = []
    unknown = dict(entries)
    for holder in holders:
        for number, matrix in enumerate(holder.matrices):
            if (chosen := unknown.pop(matrix.place, None)) is None or not chosen.size:
                continue
            if chosen.min() < 0 or chosen.max() >= matrix.size:
                raise DiagnosticError(f"{matrix.name} has places 0 to {matrix.size - 1}, not {chosen.max()}")
            places = torch.as_tensor(chosen + number * matrix.size, device=holder.parameter.device)
            changes.append((holder, places))
    if unknown:
        raise DiagnosticError(f"this model has no weight matrix {next(iter(unknown))}")
    undo: list[tuple[Tensor, Tensor, Tensor]] = []
    try:
        for holder, places in changes:
            weights, added = holder.parameter.data.view(-1), holder.added()
            undo.append((weights, places, weights[places].clone()))
            weights[places] = -added.reshape(-1)[places].to(weights.dtype) if isinstance(added, Tensor) else 0.0
        yield
    finally:
        for weights, places, before in undo:
            weights[places] = before


def _sweep(
    sites: Sites, cohorts: Mapping[str, Sequence[Example]], group: Sequence[Holder], blocks: int
) -> dict[int, Tensor]:
    """Sums of |gradient| by the parameter's id: shape (cohorts, blocks, *parameter), float32."""
    sums: dict[int, Tensor] = {}
    place = (0, 0)

    def add(parameter: Tensor) -> None:
        if (gradient := parameter.grad) is not None:
            sums[id(parameter)][place].add_(gradient.abs_())
            parameter.grad = None

    with differentiating(sites.model, [holder.parameter for holder in group], add):
        for holder in group:
            shape = (len(cohorts), blocks, *holder.parameter.shape)
            sums[id(holder.parameter)] = torch.zeros(shape, device=holder.parameter.device)
        for row, chosen in enumerate(cohorts.values()):
            for column, numbers in enumerate(np.array_split(np.arange(len(chosen)), blocks)):
                place = (row, column)
                for number in numbers:
                    _backward(sites, chosen[number])
    return sums


def _backward(sites: Sites, example: Example) -> None:
    ids = torch.tensor([example.ids], device=sites.device)
    count = len(example.ids) - example.start
    keeps = "logits_to_keep" in inspect.signature(sites.model.forward).parameters
    only = {"logits_to_keep": count + 1} if keeps else {}
    logits = sites.model(input_ids=ids, use_cache=False, **only).logits[0, -count - 1 : -1]
    loss = cross_entropy(logits.float(), ids[0, example.start :].to(logits.device))
    if not torch.isfinite(loss):
        raise DiagnosticError(f"the loss on sample {example.id!r} is {loss.item()}: are the weights intact?")
    loss.backward()  # type: ignore[no-untyped-call]


def _most_important(
    holder: Holder, sums: Tensor, depth: float
) -> Iterator[tuple[Matrix, NDArray[np.int64], NDArray[np.float32]]]:
    """Of each matrix: the entries kept, and their scores by cohort and block."""
    sizes = holder.value().abs()
    for number, matrix in enumerate(holder.matrices):
        parts = sums.reshape(*sums.shape[:2], len(holder.matrices), matrix.size)[:, :, number]
        count = int(depth * matrix.size)
        best = [total.topk(count) for total in parts.sum(1).mul_(sizes[number])] if count else []
        if not all(values[0].isfinite() for values, _ in best):  # NaN and infinity rank first
            raise DiagnosticError(f"gradients of {matrix.name} hold NaN or infinity; load the model in bfloat16")
        found = [indices for values, indices in best if values[0] > 0]
        places = torch.unique(torch.cat(found)) if found else torch.empty(0, dtype=torch.long, device=sums.device)
        scores = parts[:, :, places] * sizes[number, places]
        yield matrix, places.cpu().numpy(), scores.cpu().numpy()
