"""The component: draws the pairs, sweeps the layers, confirms the parts, and concludes."""

from __future__ import annotations

from collections.abc import Sequence

from deepsight_causal import refusal_tokens
from deepsight_causal.pairs import drawn, twins
from deepsight_causal.shares import refused_share
from pydantic import Field

from deepsight_activation_patching import findings
from deepsight_activation_patching.attribution import attribute
from deepsight_activation_patching.effects import draws
from deepsight_activation_patching.study import confirm, own_activation, scored, sweep
from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, Geometry, Inside, Want
from deepsight_core.protocol import Diagnosis, Finding

FEWEST = 6
"""Pairs without which nothing is patched: six sign flips in favour of an effect have p = 1/64."""


class ActivationPatching(Diagnostic):
    """Where is it decided that a prompt is refused, and which heads and MLPs write the decision?

    Activations of harmful prompts are put into their harmless twins, and the reverse (Zhang and Nanda 2023,
    arXiv:2309.16042; Heimersheim and Nanda 2024, arXiv:2404.15255); attribution patching (Kramar et al. 2024,
    arXiv:2403.00745) says which parts are worth it.
    """

    name = "activation-patching"
    pairs: int = Field(20, ge=FEWEST)
    """Pairs of twins to draw, at most."""
    positions: int = Field(5, ge=1)
    """Tokens at the end of the prompt that the map of estimates shows one by one."""
    least_gap: float = Field(1.0, gt=0)
    """How far the harmful prompt's refusal score must lie above its twin's, in log-odds."""
    confirm: int = Field(10, ge=1)
    """Heads and MLPs to patch: those with the largest estimates."""
    calibrate: int = Field(10, ge=0)
    """Heads and MLPs to patch besides, drawn at random, to tell how good the estimates are."""
    refused: str = "verdict:refused"
    """Which verdict says that an answer refuses: how refusals open is learnt from these."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap draws of pairs behind intervals and null bands."""
    permutations: int = Field(1000, ge=20)
    """Sign flips behind p values."""
    seed: int = 0

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        """Nothing of all samples: few pairs are looked into, once the answers are known."""
        return []

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            contrast = evidence.contrast()
            every = twins(evidence, contrast)
            if len(every) < FEWEST:
                raise DiagnosticError(
                    f"{len(every)} clusters hold samples of both classes, but {FEWEST} are needed: evaluate data with "
                    "pairs (contrast-pairs, say)"
                )
            tokens = refusal_tokens(evidence, inside, self.refused)
            harmful = [id for id, y in zip(contrast.ids, contrast.y, strict=True) if y]
            share = refused_share(evidence, harmful, self.refused)
            kept = scored(inside, drawn(every, self.pairs, self.seed), tokens, self.least_gap)
            if len(kept.pairs) < FEWEST:
                return self._nothing(len(kept.pairs), kept.left_out, tokens.texts)
            seen = attribute(inside, kept.pairs, tokens, self.positions)
            shared = draws(len(kept.pairs), self.resamples, self.permutations, self.seed)
            swept = sweep(inside, tokens, kept, seen, shared)
            parts = confirm(
                inside,
                tokens,
                kept,
                seen,
                top=self.confirm,
                others=self.calibrate,
                resamples=self.resamples,
                flips=self.permutations,
                seed=self.seed,
            )
            jumped = findings.jump(swept, seen.layers, shared, kept.gap)
            named = findings.components(parts)
            count = len(kept.pairs)
            place = seen.layers.index(jumped.site.layer) if jumped.site and jumped.site.layer is not None else None
            table: dict[str, dict[str, float | str | None]] = {}
            for row, pair in enumerate(kept.pairs):
                table[pair.positive.id] = {"refusal score": float(kept.harmful[row])}
                table[pair.negative.id] = {"refusal score": float(kept.harmless[row])}
                if place is not None:
                    table[pair.negative.id]["change when patched"] = float(swept.by_pair[place, row])
            return Diagnosis(
                diagnostic=self.name,
                summary=findings.summary(share, kept, jumped, named),
                findings=(
                    jumped,
                    findings.halfway(swept, seen.layers, count),
                    *findings.profiles(swept, seen.layers, count),
                    *named,
                    findings.control(own_activation(inside, tokens, kept, seen), count),
                ),
                table=table,
                figures=findings.maps(seen, kept.gap, seen.layers),
                caveats=tuple(findings.caveats(kept, tokens, len(seen.layers))),
            )

    def _nothing(self, left: int, out: int, opens: Sequence[str]) -> Diagnosis:
        found = Finding(
            name="pairs that can be patched",
            value=left,
            count=left + out,
            unit="pairs",
            headline=True,
            evidence="control",
            summary=f"Pairs whose harmful prompt scores at least {self.least_gap:g} above its twin.",
        )
        return Diagnosis(
            diagnostic=self.name,
            summary=f"Only {left} of {left + out} harmful prompts lean more to refusal (an answer that opens with "
            f"{', '.join(map(repr, opens))}) than their harmless twins: there is no difference to locate.",
            findings=(found,),
            caveats=("Nothing was patched.",),
        )
