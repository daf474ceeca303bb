"""Measure the contrast pairs: size, length balance, overlap and bag-of-words leakage.

Run it with ``python -m deepsight_contrast_pairs.check [pairs.jsonl]``.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from math import log
from pathlib import Path
from statistics import fmean, median

PAIRS_PATH = Path(__file__).with_name("pairs.jsonl")
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


def tokenise(text: str) -> list[str]:
    """Split a prompt into lower-cased words."""
    return _WORD.findall(text.lower())


def read_pairs(path: Path) -> list[dict[str, str]]:
    """Read the pairs, one JSON object a line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _jaccard(left: list[str], right: list[str]) -> float:
    a, b = set(left), set(right)
    return len(a & b) / len(a | b)


def _log_odds(words: list[str], harmful: Counter[str], harmless: Counter[str]) -> float:
    """Multinomial naive Bayes score with add-one smoothing; above zero means harmful.

    The classes are equally frequent, so the prior drops out; words that the
    training pairs lack are ignored.
    """
    vocabulary = harmful.keys() | harmless.keys()
    harmful_total = harmful.total() + len(vocabulary)
    harmless_total = harmless.total() + len(vocabulary)
    return sum(
        log((harmful[word] + 1) / harmful_total) - log((harmless[word] + 1) / harmless_total)
        for word in words
        if word in vocabulary
    )


def _credit(margin: float) -> float:
    return 0.5 if margin == 0 else float(margin > 0)


def leave_pair_out(tokens: list[tuple[list[str], list[str]]]) -> tuple[float, float]:
    """Naive Bayes accuracy when a prompt's own pair is held out: per prompt, and per pair.

    Per prompt, each prompt is labelled by itself. Per pair, both prompts are
    seen and the higher score is called harmful. A tie counts as half right.
    """
    harmful = Counter(word for left, _ in tokens for word in left)
    harmless = Counter(word for _, right in tokens for word in right)
    by_prompt: list[float] = []
    by_pair: list[float] = []
    for left, right in tokens:
        held_harmful, held_harmless = harmful - Counter(left), harmless - Counter(right)
        left_score = _log_odds(left, held_harmful, held_harmless)
        right_score = _log_odds(right, held_harmful, held_harmless)
        by_prompt += [_credit(left_score), _credit(-right_score)]
        by_pair.append(_credit(left_score - right_score))
    return fmean(by_prompt), fmean(by_pair)


def summarise(path: Path | str = PAIRS_PATH) -> dict[str, float]:
    """Return the figures that the datasheet quotes.

    Signed differences are harmful minus harmless; ``abs`` ones drop the sign.
    """
    pairs = read_pairs(Path(path))
    tokens = [(tokenise(pair["harmful"]), tokenise(pair["harmless"])) for pair in pairs]
    words = [len(left) - len(right) for left, right in tokens]
    chars = [len(pair["harmful"]) - len(pair["harmless"]) for pair in pairs]
    figures: dict[str, float] = {
        "pairs": len(pairs),
        "categories": len({pair["category"] for pair in pairs}),
    }
    for name, differences in (("word", words), ("char", chars)):
        sizes = [abs(difference) for difference in differences]
        figures[f"{name}_diff_mean"] = fmean(differences)
        figures[f"{name}_diff_median"] = median(differences)
        figures[f"{name}_abs_diff_mean"] = fmean(sizes)
        figures[f"{name}_abs_diff_median"] = median(sizes)
        figures[f"{name}_abs_diff_max"] = max(sizes)
    figures["jaccard_median"] = median(_jaccard(left, right) for left, right in tokens)
    figures["bag_of_words_accuracy"], figures["bag_of_words_pair_accuracy"] = leave_pair_out(tokens)
    return figures


def main(arguments: list[str] | None = None) -> int:
    """Print the figures of the given file, or of the packaged one."""
    given = sys.argv[1:] if arguments is None else arguments
    for name, value in summarise(given[0] if given else PAIRS_PATH).items():
        print(f"{name:<28}{value:>10.3f}" if value % 1 else f"{name:<28}{value:>6.0f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
