"""What a reader sees of an answer: no thinking, no mark-up, one kind of apostrophe, simplified characters."""

from __future__ import annotations

import re
import unicodedata

PLACEHOLDERS = {"none", "null", "nan", "[content_filter]"}
"""What broken machinery writes where an answer should be."""

_THOUGHT = r"think(?:ing)?|thought|reasoning"
_REMOVED = [
    re.compile(rf"<({_THOUGHT})>.*?</\1>", re.S | re.I),
    re.compile(rf"^.*</(?:{_THOUGHT})>", re.S | re.I),  # the opening tag was part of the prompt
    re.compile(rf"<(?:{_THOUGHT})>.*", re.S | re.I),  # cut off while it was still thinking
    re.compile(r"<\|[^|>]*\|>|</?s>|\[/?INST\]|</?(?:answer|response|final)>", re.I),
    re.compile("[\u200b-\u200f\u2060\ufeff]"),
    re.compile(r"^[ \t]*(?:#+|>)[ \t]*", re.M),
    re.compile(r"\*+(?=\S)|(?<=\S)\*+|(?<!\w)_+(?=\S)|(?<=\S)_+(?!\w)"),
    re.compile(r"^\s*(?:assistant|ai|model|answer|response|助手|回答)\s*:", re.I),
]
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u0060\u00b4\u2032", "'"))
# only the characters that the rules mention
_SIMPLIFIED = str.maketrans(
    "無對幫協絕關這個與為給請題話說訴寫創討論參應該願難會還實們從違則範規價觀類內導執滿編譯點處繼續樣問沒辦遺於進傳勵見諒並確暫時親",
    "无对帮协绝关这个与为给请题话说诉写创讨论参应该愿难会还实们从违则范规价观类内导执满编译点处继续样问没办遗于进传励见谅并确暂时亲",
)
_QUOTES = {'"': '"', "“": "”", "'": "'", "「": "」", "『": "』", "«": "»"}


def visible(text: str) -> str:
    """The answer as the rules read it. Empty when there is nothing to read: only thinking, mark-up, or a placeholder
    such as "None" that stands for a missing answer."""
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).translate(_SIMPLIFIED)
    for pattern in _REMOVED:
        text = pattern.sub("", text)
    text = text.strip()
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return "" if text.lower() in PLACEHOLDERS or not text.strip("\"'") else text
