"""What a model takes in of a text's images, besides the tokens that stand for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pixels, grids and masks as a processor makes them. Equal when they are the same, number for number.

    They are made once to be known by their digest, and again when they are read, so that many texts fit in memory.
    """

    load: Callable[[], Mapping[str, Tensor]]
    digest: str
    tokens: int
    """How many tokens the text has that they were made for: what follows is an answer."""
    stop: int
    """Index after the last image token."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pictures) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def arguments(self, length: int, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """What a model is called with for a text of so many tokens that begins like the one they were made for.

        What is said of each token is 0 of those that were added: they are text.
        """
        found = {}
        for name, tensor in self.load().items():
            if tensor.shape[:2] == (1, self.tokens):
                padding = tensor.new_zeros(1, max(0, length - self.tokens))
                tensor = torch.cat([tensor[:, :length], padding], dim=1)
            found[name] = tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)
        return found


def digest(inputs: Mapping[str, Tensor]) -> str:
    """sha256 over what a model takes in, 64 hexadecimal digits."""
    content = hashlib.sha256()
    for name, tensor in sorted(inputs.items()):
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        content.update(tensor.contiguous().numpy().tobytes())
    return content.hexdigest()
