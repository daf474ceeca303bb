"""Tell a model's thinking from its answer by the markers around it."""

from __future__ import annotations

from collections.abc import Sequence

Markers = tuple[tuple[str, str], ...]

MARKERS: Markers = (
    ("<think>", "</think>"),  # Qwen3, DeepSeek-R1, SmolLM3
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1, OpenThinker
)


def split(text: str, markers: Sequence[tuple[str, str]] = MARKERS, prompt: str = "") -> tuple[str, str | None]:
    """(answer, reasoning) of a model's words; reasoning is None when nothing marks any.

    A block that the `prompt` already opened needs only its end, and a block that is never closed makes everything
    reasoning and the answer empty: a model that was cut off while thinking has not answered.
    """
    for opening, closing in markers:
        begun = prompt.rstrip().endswith(opening)
        if not begun and opening not in text:
            if closing not in text:
                continue
            begun = True  # the opening was hidden from us, by a template or a tokenizer
        answer, thoughts, rest = "", [], opening + text if begun else text
        while opening in rest:
            before, _, rest = rest.partition(opening)
            thought, closed, rest = rest.partition(closing)
            thoughts.append(thought.strip())
            if not closed:
                return "", "\n".join(filter(None, [answer.strip(), before.strip(), *thoughts]))
            answer += before
        return (answer + rest).strip(), "\n".join(filter(None, thoughts))
    return text, None
