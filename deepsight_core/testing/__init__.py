"""What a plugin author tests with: fakes of every kind, and a driver for protocols that needs no engine."""

from deepsight_core.testing.fakes import KeywordJudge, ScriptedModel, TinyDataset
from deepsight_core.testing.glass import GlassInside, GlassModel
from deepsight_core.testing.programs import Play, play

__all__ = ["GlassInside", "GlassModel", "KeywordJudge", "Play", "ScriptedModel", "TinyDataset", "play"]
