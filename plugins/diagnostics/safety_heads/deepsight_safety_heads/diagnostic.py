"""The component: screens all heads, silences some, then a set of them, and concludes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from deepsight_causal import refusal_tokens
from deepsight_causal.shares import refused_share
from pydantic import Field

from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, Geometry, Inside, Want
from deepsight_core.protocol import Diagnosis, Finding
from deepsight_safety_heads import findings
from deepsight_safety_heads.behaviour import behaviour
from deepsight_safety_heads.screening import mean_heads
from deepsight_safety_heads.silencing import STATE, Towards
from deepsight_safety_heads.study import parts, screened, tested, together


class SafetyHeads(Diagnostic):
    """Which attention heads does a model need to refuse, and harmful requests above all?

    After Ships and Sahara (Zhou et al. 2024, arXiv:2410.13708), with a signed score in place of a divergence, which
    rewards any damage.
    """

    name = "safety-heads"
    samples: int = Field(32, ge=8)
    """Prompts of each class to draw, at most; one half to choose heads on, one to report on."""
    ablation: Literal["zero", "mean"] = "zero"
    """What a silenced head gives: nothing, or its mean over the harmless prompts to choose on."""
    confirm: int = Field(20, ge=1)
    """Heads to silence one by one: those with the largest estimates."""
    calibrate: int = Field(20, ge=0)
    """Heads to silence besides, drawn at random, to tell how good the estimates are."""
    set_size: int = Field(3, ge=1)
    """Heads to silence together, at most."""
    random_sets: int = Field(19, ge=1)
    """Random sets behind the null of that; the smallest p is 1 / (random_sets + 1)."""
    rank: int = Field(1, ge=1)
    """Singular vectors whose subspace is followed (Sahara)."""
    generate: bool = True
    """Ask the harmful prompts to report on again without the set, where the run evaluates answers."""
    refused: str = "verdict:refused"
    """Which verdict says that an answer refuses: how refusals open is learnt from these."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap draws of clusters behind intervals."""
    permutations: int = Field(1000, ge=20)
    """Shuffled labellings behind null bands and p values."""
    seed: int = 0

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        """Nothing of all samples: few are looked into, once the answers are known."""
        return []

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            prompts = {prompt.id: prompt for prompt in evidence.prompts}
            tokens = refusal_tokens(evidence, inside, self.refused)
            contrast = evidence.contrast()
            harmful = [id for id, y in zip(contrast.ids, contrast.y, strict=True) if y]
            share = refused_share(evidence, harmful, self.refused)
            choose, report = parts(contrast, prompts, self.samples, self.permutations, self.resamples, self.seed)
            towards: Towards = {}
            if self.ablation == "mean":
                towards = mean_heads(inside, [p for p, y in zip(choose.prompts, choose.y, strict=True) if not y])
            every = screened(inside, tokens, choose, towards)
            found = tested(
                inside, tokens, report, every, towards, top=self.confirm, others=self.calibrate, seed=self.seed
            )
            states = inside.run([STATE], report.prompts)[STATE][:, 0, 0].astype(np.float64)
            named = findings.single(found, report, self.confirm, self.rank, states)
            group = together(
                inside,
                tokens,
                choose,
                report,
                every,
                found.before,
                towards,
                self.set_size,
                self.random_sets,
                self.seed,
            )
            told: list[Finding] = []
            caveats = findings.caveats(found, every, tokens, len(choose.y))
            if group is None:
                caveats.append("No head is estimated to lower the refusal of harmful prompts, so no set was silenced.")
            else:
                told += findings.sets(group, report)
                if self.generate:
                    asked = [id for id, y in zip(report.ids, report.y, strict=True) if y]
                    conduct, why = behaviour(
                        evidence, inside, group.heads, group.sets[0], towards, asked, self.refused, self.seed
                    )
                    told += findings.conduct(conduct, len(group.heads)) if conduct else []
                    caveats += [why] if why else []
            table: dict[str, dict[str, float | str | None]] = {
                id: {"refusal score": float(found.before[row])} for row, id in enumerate(report.ids)
            }
            if group is not None:
                for row, id in enumerate(report.ids):
                    table[id]["change without the set"] = float(group.change[row, -1])
            return Diagnosis(
                diagnostic=self.name,
                summary=findings.summary(share, found, report, group, named, told),
                findings=(
                    *told,
                    *named,
                    *findings.criteria(found, report, self.rank, states),
                    *findings.calibration(found),
                ),
                table=table,
                figures=(findings.map_of_heads(every, len(choose.y)),),
                caveats=tuple(caveats),
            )
