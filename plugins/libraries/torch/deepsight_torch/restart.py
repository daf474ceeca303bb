"""Start a pass in the middle: blocks below all edits are run once for each distinct text, not for each row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from deepsight_torch.sites import Sites
from deepsight_torch.tensors import first, first_input, put_back, put_first_input

Forward = Callable[..., Any]

_allowed: WeakKeyDictionary[Sites, dict[int, bool]] = WeakKeyDictionary()
"""Whether restarting a model at a block changes nothing; of those that were asked about."""


class _Reached(BaseException):
    """Raised when the block was reached. Not an Exception, so that no model catches it."""


@contextmanager
def restarted(sites: Sites, layer: int, ids: Tensor, mask: Tensor | None = None) -> Iterator[None]:
    """Put around one forward pass over `ids` in this thread, outside of the editing, which must leave what is below
    block `layer` as it is (`Editing.lowest`). Rows of `ids`, and of `mask` if there is one, that repeat are read up to
    that block once; the pass then goes on from there for all rows.

    Nothing is seen at sites within the blocks below in that pass. Does nothing where no row repeats, where `layer` is
    0, and in a family whose blocks hand on more than their output (the first use at each block finds out).
    """
    distinct, owners = _distinct(ids, mask)
    layer = min(layer, len(sites.blocks) - 1)
    if layer < 1 or len(distinct) == len(ids) or not _allows(sites, layer):
        yield
        return
    states, output = _states(sites, layer, ids[distinct], None if mask is None else mask[distinct])
    with _going_on(sites, layer, states[owners.to(states.device)], output):
        yield


def _distinct(ids: Tensor, mask: Tensor | None) -> tuple[list[int], Tensor]:
    """Rows that differ, in the order in which they first come, and for each row the one that it repeats."""
    numbers: dict[tuple[int, ...], int] = {}
    firsts: list[int] = []
    owners = []
    for row, content in enumerate((ids if mask is None else torch.cat([ids, mask.to(ids)], dim=1)).tolist()):
        if tuple(content) not in numbers:
            numbers[tuple(content)] = len(firsts)
            firsts.append(row)
        owners.append(numbers[tuple(content)])
    return firsts, torch.tensor(owners)


def _states(sites: Sites, layer: int, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Any]:
    """What enters a block, and all that the block before it returned."""
    thread, returned = threading.get_ident(), []

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            returned.append(output)
            raise _Reached

    handle = sites.blocks[layer - 1].register_forward_hook(stop)
    try:
        sites.read(ids, mask)
    except _Reached:
        pass
    finally:
        handle.remove()
    states = first(returned[0])
    assert states is not None
    return states, returned[0]


@contextmanager
def _going_on(sites: Sites, layer: int, states: Tensor, output: Any) -> Iterator[None]:
    """While open, in this thread, block `layer` takes in `states`, and those below hand on what they are given in the
    form of `output`."""
    thread = threading.get_ident()

    def handing_on(usual: Forward) -> Forward:
        def forward(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                return usual(*args, **kwargs)
            given = first_input(args, kwargs)
            assert given is not None
            return put_back(output, given)

        return forward

    def taking_in(module: nn.Module, args: Any, kwargs: Any) -> Any:
        return put_first_input(args, kwargs, states) if threading.get_ident() == thread else None

    with ExitStack() as stack:
        for block in sites.blocks[:layer]:
            own = vars(block).get("forward")  # an offloaded block has one already
            block.forward = handing_on(block.forward)
            stack.callback(_put_forward_back, block, own)
        # Before all other hooks there: edits of the block's input are made to the states.
        handle = sites.blocks[layer].register_forward_pre_hook(taking_in, prepend=True, with_kwargs=True)
        stack.callback(handle.remove)
        yield


def _put_forward_back(block: nn.Module, own: Forward | None) -> None:
    if own is None:
        del block.forward
    else:
        block.forward = own


def _allows(sites: Sites, layer: int) -> bool:
    """Whether the last block gives the same when the pass is started at this one."""
    known = _allowed.setdefault(sites, {})
    if layer not in known:
        known[layer] = _proved(sites, layer)
    return known[layer]


def _proved(sites: Sites, layer: int) -> bool:
    ids = torch.arange(1, 7, device=sites.device)[None]
    blocks = len(sites.blocks)
    try:
        expected, _ = _states(sites, blocks, ids, None)
        with _going_on(sites, layer, *_states(sites, layer, ids, None)):
            found, _ = _states(sites, blocks, ids, None)
    except Exception:  # some family whose blocks want more than hidden states
        return False
    return torch.equal(expected, found)
