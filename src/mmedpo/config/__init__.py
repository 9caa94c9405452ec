"""Every setting of a run, with its default, unit and source: one file per stage, one place per default.

A recipe (YAML) gives the settings that differ; `--set train.beta=0.2` overrides one of them. Unknown
settings are refused, and so is a setting that would have no effect.
"""

from mmedpo.config.curate import CurateSettings, GroundSettings, ImportSettings, NoiseSettings
from mmedpo.config.data import DataSettings, PhantomSettings
from mmedpo.config.evaluate import EvaluateSettings
from mmedpo.config.groups import Settings
from mmedpo.config.loading import dump_settings, load_settings, validate_settings
from mmedpo.config.model import FinetuneSettings, ModelSettings
from mmedpo.config.run import RunSettings
from mmedpo.config.score import ScoreSettings, Unscored, WeightMode
from mmedpo.config.train import LoraSettings, TrainSettings, WatchSettings

__all__ = [
    "CurateSettings",
    "DataSettings",
    "EvaluateSettings",
    "FinetuneSettings",
    "GroundSettings",
    "ImportSettings",
    "LoraSettings",
    "ModelSettings",
    "NoiseSettings",
    "PhantomSettings",
    "RunSettings",
    "ScoreSettings",
    "Settings",
    "TrainSettings",
    "Unscored",
    "WatchSettings",
    "WeightMode",
    "dump_settings",
    "load_settings",
    "validate_settings",
]
