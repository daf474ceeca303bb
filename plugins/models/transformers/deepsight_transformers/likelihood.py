"""Score continuations of a prompt: the prompt is read once for all of them.

Prompt and continuation are tokenised together and split on tokens, as in lm-evaluation-harness (`_encode_pair`), so
that " Paris" after "is" and "Paris" after "is " are the same token sequence. The harness finds the border in the text,
by moving trailing white space from the prompt to the continuation; here it is the longest beginning that the prompt
shares with every joint tokenisation, which gives the same values without counting a chat template's last newline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from deepsight_torch import Renderer

from deepsight_core import Likelihoods, LogLikelihood, Ticket
from deepsight_transformers.network import FILLER, Network, shared_length

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """A request in tokens."""

    ticket: Ticket
    prompt: Ids
    continuations: tuple[Ids, ...]

    @property
    def width(self) -> int:
        """Columns that each continuation takes, the prompt's included."""
        return len(self.prompt) + max(map(len, self.continuations))


def tokenised(ticket: Ticket, request: LogLikelihood, renderer: Renderer) -> Question:
    """Raises ValueError for a request without continuations or with an empty one."""
    if not request.continuations or "" in request.continuations:
        raise ValueError("a likelihood needs at least one continuation, and none of them empty")
    rendered = renderer.prompt(request.messages)
    alone = _ids(renderer, rendered.text)
    beginning = rendered.ids[: len(rendered.ids) - len(alone)]  # a BOS that the text does not spell out
    joint = [_ids(renderer, rendered.text + continuation) for continuation in request.continuations]
    shared = shared_length([(*alone, -1), *joint])
    if not beginning and not shared:
        raise ValueError("the prompt has no tokens of its own, so there is nothing to condition on")
    return Question(ticket, beginning + alone[:shared], tuple(ids[shared:] for ids in joint))


def batch_of(questions: Sequence[Question], budget: int) -> list[Question]:
    """The first question and those after it that fit beside it into `budget` columns."""
    chosen: list[Question] = []
    rows = width = 0
    for question in questions:
        rows, width = rows + len(question.continuations), max(width, question.width)
        if chosen and rows * width > budget:
            break
        chosen.append(question)
    return chosen


@torch.inference_mode()
def score(network: Network, questions: Sequence[Question]) -> list[Likelihoods]:
    """Natural-log likelihoods, summed over the tokens of each continuation, from a float32 log-softmax."""
    prefix = network.read([question.prompt for question in questions])
    answers = [continuation for question in questions for continuation in question.continuations]
    owners = [row for row, question in enumerate(questions) for _ in question.continuations]
    values = prefix.logits.log_softmax(-1)[owners, [answer[0] for answer in answers]]
    longer = [place for place, answer in enumerate(answers) if len(answer) > 1]
    if longer:
        index = torch.tensor([owners[place] for place in longer], device=network.device)
        prefix.cache.reorder_cache(index)
        width = max(len(answers[place]) for place in longer) - 1
        read = torch.full((len(longer), width), FILLER)
        asked, real = torch.full_like(read, FILLER), torch.zeros_like(read)
        for row, place in enumerate(longer):
            answer = torch.tensor(answers[place])
            read[row, : len(answer) - 1], asked[row, : len(answer) - 1] = answer[:-1], answer[1:]
            real[row, : len(answer) - 1] = 1
        asked, real = asked.to(network.device), real.to(network.device)
        logits = network(read, torch.cat([prefix.mask[index], real], dim=1), prefix.cache, last=width)
        gained = logits.log_softmax(-1).gather(-1, asked[..., None])[..., 0]
        values[longer] += gained.masked_fill(real == 0, 0).sum(-1)
    sums = iter(zip(values.tolist(), values.isfinite().tolist(), answers, strict=True))
    return [_likelihoods([next(sums) for _ in question.continuations]) for question in questions]


def _likelihoods(scored: Sequence[tuple[float, bool, Ids]]) -> Likelihoods:
    if not all(finite for _, finite, _ in scored):
        return Likelihoods(error="the model's likelihoods are not finite; try dtype = 'float32'")
    return Likelihoods(
        values=tuple(value for value, _, _ in scored), tokens=tuple(len(answer) for _, _, answer in scored)
    )


def _ids(renderer: Renderer, text: str) -> Ids:
    return tuple(renderer.tokenizer(text, add_special_tokens=False)["input_ids"])
