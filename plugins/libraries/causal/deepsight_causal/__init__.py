"""What causal diagnostics share: which tokens refuse, how strongly a model leans to them, and what an edit changes."""

from deepsight_causal.cases import Cases, cases
from deepsight_causal.directions import at_random, cosine, difference_of_means, split_half_cosine, unit
from deepsight_causal.effects import Effect, beyond_random, effect
from deepsight_causal.gaps import Gaps, gaps
from deepsight_causal.interventions import addition, directional_ablation
from deepsight_causal.losses import divergence, losses, next_token
from deepsight_causal.neutral import neutral_prompts
from deepsight_causal.openings import answer_tokens
from deepsight_causal.refusal import RefusalTokens, distinctive, refusal_scores, refusal_tokens, scores, wanted
from deepsight_causal.split import Split, split

__all__ = [
    "Cases",
    "Effect",
    "Gaps",
    "RefusalTokens",
    "Split",
    "addition",
    "answer_tokens",
    "at_random",
    "beyond_random",
    "cases",
    "cosine",
    "difference_of_means",
    "directional_ablation",
    "distinctive",
    "divergence",
    "effect",
    "gaps",
    "losses",
    "neutral_prompts",
    "next_token",
    "refusal_scores",
    "refusal_tokens",
    "scores",
    "split",
    "split_half_cosine",
    "unit",
    "wanted",
]
