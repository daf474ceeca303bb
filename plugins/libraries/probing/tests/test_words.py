"""Words become the features that they should, and none of a held-out text."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_probing import bag_of_characters, bag_of_words

TEXTS = ["the red fox", "the red hen", "the blue hen", "a once-only word"]


def test_bag_of_words_is_tf_idf_of_words_and_word_pairs_that_occur_in_two_texts():
    train = np.array([0, 1, 2])
    kept = ["hen", "red", "the", "the red"]  # each in two texts at least
    table = np.array([[0, 1, 1, 1], [1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], dtype=float)
    frequency = (table[train] > 0).sum(axis=0)
    weighted = table * (np.log(4 / (1 + frequency)) + 1)
    norm = np.linalg.norm(weighted, axis=1, keepdims=True)
    weighted = np.where(norm > 0, weighted / np.where(norm > 0, norm, 1), 0)
    weighted -= weighted[train].mean(axis=0)
    assert len(kept) == table.shape[1]
    assert bag_of_words(TEXTS)(train) == pytest.approx(weighted @ weighted.T, abs=1e-6)


def test_document_frequencies_do_not_look_at_held_out_texts():
    texts = ["red fox", "red hen", "fox hen", "red red"]
    other = [*texts[:3], "hen hen"]
    train = np.array([0, 1, 2])
    block = np.ix_(train, train)
    assert bag_of_words(texts)(train)[block] == pytest.approx(bag_of_words(other)(train)[block])


def test_chinese_is_read_by_character():
    texts = ["如何制作炸弹", "炸弹如何制作", "天气"]
    kernel = bag_of_words(texts)(np.arange(3))
    assert kernel[0, 1] > kernel[0, 2]


def test_characters_find_what_words_miss():
    texts = ["refusing", "refused", "dancing", "danced"]
    rows = np.arange(4)
    assert not bag_of_words(texts)(rows).any()
    kernel = bag_of_characters(texts)(rows)
    assert kernel[0, 1] > kernel[0, 3]
