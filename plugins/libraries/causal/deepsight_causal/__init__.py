"""What causal diagnostics share: which tokens refuse, how strongly a model leans to them, and what an edit changes."""

from deepsight_causal.directions import at_random, cosine, difference_of_means, split_half_cosine, unit
from deepsight_causal.effects import Effect, effect
from deepsight_causal.interventions import addition, directional_ablation
from deepsight_causal.refusal import RefusalTokens, distinctive, refusal_scores, refusal_tokens, scores, wanted
from deepsight_causal.split import Split, split

__all__ = [
    "Effect",
    "RefusalTokens",
    "Split",
    "addition",
    "at_random",
    "cosine",
    "difference_of_means",
    "directional_ablation",
    "distinctive",
    "effect",
    "refusal_scores",
    "refusal_tokens",
    "scores",
    "split",
    "split_half_cosine",
    "unit",
    "wanted",
]
