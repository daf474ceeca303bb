"""Every prompt in every frame, with the ids and groups of the plain pairs."""

from __future__ import annotations

from collections import Counter

import pytest
from deepsight_attacked_pairs import AttackedPairs
from deepsight_attacked_pairs.dataset import FRAMES, TRIGGER
from deepsight_contrast_pairs import ContrastPairs
from pydantic import ValidationError

SAMPLES = list(AttackedPairs().samples())
PLAIN = {sample.id: sample for sample in ContrastPairs().samples()}


def test_every_prompt_comes_plain_and_in_every_frame():
    assert Counter(sample.labels["attack"] for sample in SAMPLES) == dict.fromkeys(("none", *FRAMES), len(PLAIN))
    assert len({sample.id for sample in SAMPLES}) == len(SAMPLES) == 6 * len(PLAIN)


def test_a_frame_holds_the_request_unchanged_and_adds_to_it():
    for sample in SAMPLES:
        plain = PLAIN[sample.id.removesuffix(f"-{sample.labels['attack']}")]
        request, words = plain.messages[0].text, sample.messages[0].text
        assert request in words and sample.metadata["request"] == request
        assert (words == request) == (sample.labels["attack"] == "none")
        assert sample.labels["harmful"] == plain.labels["harmful"]


def test_all_forms_of_a_pair_share_the_cluster_of_the_plain_pair():
    assert {sample.cluster for sample in SAMPLES} == {sample.cluster for sample in PLAIN.values()}
    assert set(Counter(sample.cluster for sample in SAMPLES).values()) == {12}


def test_no_id_is_that_of_a_plain_pair():
    assert not PLAIN.keys() & {sample.id for sample in SAMPLES}


def test_the_trigger_stands_before_the_request():
    words = [sample.messages[0].text for sample in SAMPLES if sample.labels["attack"] == "trigger"]
    assert all(text.startswith(f"{TRIGGER} ") for text in words)


def test_frames_can_be_chosen_and_unknown_ones_are_refused():
    assert {sample.labels["attack"] for sample in AttackedPairs(attacks=("novel",)).samples()} == {"none", "novel"}
    with pytest.raises(ValidationError, match="attacks"):
        AttackedPairs.model_validate({"attacks": ["hypnosis"]})
