"""What the tests of the core share."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepsight_core import Metric, Record
from deepsight_core.discovery import Catalogue
from deepsight_core.hub import Hub
from deepsight_core.testing import KeywordJudge, ScriptedModel, TinyDataset


class RefusedShare(Metric):
    """Share of refused answers."""

    name = "refused-share"
    better = "higher"

    def per_record(self, record: Record) -> float | None:
        judgement = record.judgement(self.judge)
        if judgement is None or judgement.status != "scored":
            return None
        return float(judgement.label == "refused")


@pytest.fixture
def hub() -> Hub:
    """A hub that knows the fakes and nothing that is installed."""
    hub = Hub(Catalogue())
    hub.adopt(ScriptedModel, TinyDataset, KeywordJudge, RefusedShare)
    return hub


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "runs"
