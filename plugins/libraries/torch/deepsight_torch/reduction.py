"""What is made of the vectors at the wanted positions, on the device where they are, before anything is kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Array, Lens, MeanTokens, NextToken, Project, TopK, Want
from deepsight_torch.sites import Sites

LOGITS = 1 << 24
"""Logits that are made at a time; 64 MiB."""
READABLE = ("embed", "resid_in", "resid_mid", "resid_out", "final")
"""Sites that the final norm and the head can read."""


def source(want: Want) -> str:
    """The site whose vectors are gathered: logits are made of the gathered rows of the final norm's output alone."""
    return "final" if want.site == "logits" else want.site


def vocabulary(sites: Sites) -> int:
    size: int = sites.model.config.get_text_config().vocab_size
    return size


def width(want: Want, sites: Sites, vectors: int) -> int:
    """Numbers that are kept of each vector, which has `vectors` coordinates. Raises DiagnosticError for a reduction
    that the site or the model does not allow."""
    size = vocabulary(sites)
    has = size if want.site == "logits" else vectors
    if isinstance(want.reduce, Project):
        for vector in want.reduce.vectors:
            if len(vector) != has:
                raise DiagnosticError(f"a vector to project on has {len(vector)} coordinates, {want.site} has {has}")
        return len(want.reduce.vectors)
    if not isinstance(want.reduce, Lens | TopK | NextToken):
        return has
    _check_lens(want, sites, vectors)
    if isinstance(want.reduce, NextToken):
        return 1
    if isinstance(want.reduce, TopK):
        if want.reduce.k > size:
            raise DiagnosticError(f"the {want.reduce.k} likeliest tokens are wanted of a vocabulary of {size}")
        return 2 * want.reduce.k
    for token in want.reduce.tokens:
        if not 0 <= token < size:
            raise DiagnosticError(f"token {token} is out of range: the vocabulary has tokens 0 to {size - 1}")
    return len(want.reduce.tokens)


def reduced(
    rows: Tensor, want: Want, sites: Sites, counts: Sequence[int], vectors: Array, decided: Sequence[int]
) -> Tensor:
    """(positions of all texts, width) -> the same with fewer numbers, or (texts, width) for a mean; float32. `counts`
    are the positions of each text, `vectors` those to project on, `decided` the token that follows each position (for
    `NextToken` alone)."""
    if want.site == "logits":
        rows = torch.cat([sites.unembed(part, normed=True) for part in torch.split(rows, _chunk(sites))])
    if isinstance(want.reduce, MeanTokens):
        total = pad_sequence(list(torch.split(rows, list(counts))), batch_first=True).sum(dim=1)
        return total / torch.tensor(counts, device=rows.device)[:, None]
    if isinstance(want.reduce, Project):
        return rows @ torch.from_numpy(vectors).to(rows.device).T
    if isinstance(want.reduce, Lens | TopK | NextToken):
        size = _chunk(sites)
        read = [_read(part, want, sites, decided[n * size :]) for n, part in enumerate(torch.split(rows, size))]
        return torch.cat(read).to(rows.device)
    return rows


def room(want: Want, sites: Sites, vectors: int) -> int:
    """Bytes that reducing so many vectors takes besides what goes in and comes out: logits, made in chunks, and what
    the log-sum-exp needs."""
    if want.site != "logits" and not isinstance(want.reduce, Lens | TopK | NextToken):
        return 0
    return 3 * 4 * min(vectors, _chunk(sites)) * vocabulary(sites)


def _chunk(sites: Sites) -> int:
    return max(1, LOGITS // vocabulary(sites))


def _read(rows: Tensor, want: Want, sites: Sites, decided: Sequence[int]) -> Tensor:
    logits = sites.unembed(rows, normed=want.site == "final")
    total = logits.logsumexp(dim=-1, keepdim=True)
    if isinstance(want.reduce, Lens):
        return logits[:, list(want.reduce.tokens)] - total
    if isinstance(want.reduce, NextToken):
        tokens = torch.tensor(decided[: len(rows)], device=logits.device)
        return logits.gather(1, tokens[:, None]) - total
    assert isinstance(want.reduce, TopK)
    best, tokens = logits.topk(want.reduce.k, dim=-1)
    return torch.cat([best - total, tokens.float()], dim=1)  # ids below 2**24 are exact


def _check_lens(want: Want, sites: Sites, vectors: int) -> None:
    if want.site not in READABLE:
        raise DiagnosticError(
            f"{want.site} cannot be read as tokens: the lens is for {', '.join(READABLE)} (for the model's own "
            "log-probabilities, final)"
        )
    if ("logits", None) in sites.absent:
        raise DiagnosticError(f"this model has no site logits: {sites.absent['logits', None]}")
    if want.site != "final" and sites.tap("final", None).width != vectors:
        raise DiagnosticError(f"{want.site} has {vectors} coordinates, the final norm another number")
