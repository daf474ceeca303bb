"""Modules read by what they give: norms whose scale is held, and the gradients of affine modules.

Nothing depends on how a module is written, so gains of 1 + w, centring, adapters and transposed or quantised matrices
need no code of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepsight_torch.tensors import first
from deepsight_torch.trace import ROUNDINGS, rounding

PROBES = 4
"""Vectors on which a norm's formula is tried."""


@dataclass(frozen=True)
class Frozen:
    """A norm whose scale is held: y = scale * gain * (x - mean(x) if centred) + bias, the scale one number a vector."""

    gain: Tensor
    centred: bool
    bias: Tensor

    def carried(self, readout: Tensor) -> Tensor:
        """The readout (width,) of y as a readout of x, scale aside."""
        through = self.gain * readout
        return through - through.mean() if self.centred else through

    def scales(self, x: Tensor, y: Tensor) -> Tensor:
        """The scale at each vector, shape (vectors,), by least squares."""
        unscaled, scaled = self.unscaled(x), y - self.bias
        return (scaled * unscaled).sum(-1) / (unscaled * unscaled).sum(-1).clamp_min(1e-30)

    def misfit(self, x: Tensor, y: Tensor) -> float:
        """How far y is from this formula, relative to y."""
        expected = self.scales(x, y)[:, None] * self.unscaled(x) + self.bias
        return float((expected - y).norm() / y.norm().clamp_min(1e-30))

    def unscaled(self, x: Tensor) -> Tensor:
        """What becomes of x, scale and bias aside."""
        return self.gain * (x - x.mean(-1, keepdim=True) if self.centred else x)


def frozen(norm: nn.Module, width: int) -> Frozen | None:
    """The norm's gain, centring and bias, found by what it gives; None for a module that is no norm of this form."""
    random = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (1, width), generator=random).double() * 2 - 1
    tests = torch.randn(PROBES, width, generator=random, dtype=torch.float64) + 0.5
    bias, at_signs, at_tests = (called(norm, x) for x in (torch.zeros(1, width), signs, tests))
    found = []
    for centred in (False, True):
        around = signs - signs.mean() if centred else signs
        one = Frozen(((at_signs - bias) / around)[0], centred, bias[0])
        found.append((one.misfit(tests, at_tests), one))
    misfit, best = min(found, key=lambda pair: pair[0])
    return best if misfit < ROUNDINGS * rounding(_like(norm).dtype) else None


def gradient(module: nn.Module, width: int, number: Callable[[Tensor], Tensor]) -> tuple[Tensor, float]:
    """Gradient (width,) of a number of what an affine module gives, and that number at 0."""
    like = _like(module)
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.zeros(1, width, device=like.device, dtype=like.dtype, requires_grad=True)
        given = first(module.forward(x))
        assert given is not None
        value = number(given.double().cpu()[0])
        (slope,) = torch.autograd.grad(value, x)
    return slope[0].double().cpu(), float(value.detach())


def called(module: nn.Module, x: Tensor) -> Tensor:
    """What a module gives, past its hooks, in float64 on the CPU."""
    like = _like(module)
    with torch.inference_mode():
        given = first(module.forward(x.to(like.device, like.dtype)))
    assert given is not None
    return given.double().cpu()


def _like(module: nn.Module) -> Tensor:
    """A tensor of the device and dtype of what a module takes in; a quantised one takes in float32."""
    weights = list(module.parameters())
    weight = next((w for w in weights if w.is_floating_point()), weights[0] if weights else torch.zeros(()))
    device = torch.device("cpu") if weight.is_meta else weight.device  # offloaded: moved when it is called
    return torch.zeros((), device=device, dtype=weight.dtype if weight.is_floating_point() else torch.float32)
