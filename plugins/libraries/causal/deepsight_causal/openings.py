"""Which first tokens open an answer that is no refusal."""

from __future__ import annotations

from collections import Counter

from deepsight_causal.refusal import FIRST, MOST, RefusalTokens, distinctive
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Inside, Token


def answer_tokens(
    evidence: Evidence, inside: Inside, tokens: RefusalTokens, selector: str = "verdict:refused"
) -> tuple[Token, ...]:
    """First tokens that are distinctive of answers other than refusals, most certain first; where none is (too few
    refusals to tell), the commonest ones. Refusal tokens are never among them.

    Raises DiagnosticError when no answer opens with anything else.
    """
    turned_down = set(evidence.cohort(selector))
    what = selector.partition(":")[0]
    known = {sample.id for sample in evidence.samples if evidence.value(sample, what) is not None}
    prompts = [prompt for prompt in evidence.prompts if prompt.answer and prompt.id in known]
    firsts = [read[0] for read in inside.read(FIRST, prompts)]
    kept = [(token, prompt.id in turned_down) for token, prompt in zip(firsts, prompts, strict=True)]
    answers = [token for token, refused in kept if not refused and token.id not in tokens.ids]
    if not answers:
        raise DiagnosticError("every answer of the run opens like a refusal, so there is nothing to compare it with")
    by_id = {token.id: token for token in answers}
    found = distinctive([token.id for token in answers], [token.id for token, refused in kept if refused])
    chosen = [id for id in found if id in by_id] if tokens.learnt else []
    chosen = chosen or [id for id, _ in Counter(token.id for token in answers).most_common(MOST)]
    return tuple(by_id[id] for id in chosen)
