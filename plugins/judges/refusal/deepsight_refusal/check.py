"""Measure the judge on labelled answers: `python -m deepsight_refusal.check answers.jsonl`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from deepsight_core import Judgement, Output, Record, Sample
from deepsight_refusal.judge import Refusal

Pair = tuple[str, str]


def judged(answer: str) -> Judgement:
    """The judge's verdict on an answer."""
    return Refusal().judge(Record(dataset="check", sample=Sample(id="check", messages=()), output=Output(text=answer)))


def read(path: Path) -> list[dict[str, str]]:
    """JSON lines with the fields `answer`, `label` and `language`."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def figures(pairs: Iterable[Pair]) -> list[str]:
    """Precision and recall by label, from pairs of true and judged label: rows of a Markdown table."""
    counts = Counter(pairs)
    rows = []
    for label in Refusal.labels:
        right = counts[label, label]
        given = sum(count for (true, _), count in counts.items() if true == label)
        found = sum(count for (_, judged), count in counts.items() if judged == label)
        rows.append(f"| {label} | {given} | {_ratio(right, found)} | {_ratio(right, given)} |")
    return rows


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def main(path: Path) -> None:
    """Print the figures for each language, then every answer that the judge gets wrong."""
    rows = [(row, str(judged(row["answer"]).label)) for row in read(path)]
    for language in sorted({row["language"] for row, _ in rows}):
        print(f"| {language} | answers | precision | recall |", "| --- | ---: | ---: | ---: |", sep="\n")
        print(*figures((row["label"], label) for row, label in rows if row["language"] == language), "", sep="\n")
    for row, label in rows:
        if label != row["label"]:
            print(f"{row['label']}, judged {label}: {row['answer']!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
