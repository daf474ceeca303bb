"""A direction drawn by lot does about as well as it should."""

from __future__ import annotations

import numpy as np
from deepsight_linear_probe.controls import random_directions


def test_random_directions_are_turned_to_their_better_side():
    rng = np.random.default_rng(0)
    values = random_directions(rng.standard_normal((50, 20)), np.arange(50) % 2, 200, seed=0)
    assert values.shape == (200,) and values.min() >= 0.5 and 0.53 < values.mean() < 0.6
