"""Every setting of a run, with its default, unit and source: one file per stage, one place per default.

A recipe (YAML) gives the settings that differ; `--set train.beta=0.2` overrides one of them. Unknown
settings are refused, and so is a setting that would have no effect.
"""

from mmedpo.config.chat import ChatSettings, EndpointSettings, Structured, endpoint_of
from mmedpo.config.curate import AssumeSettings, CurateSettings, GroundSettings, ImportSettings, NoiseSettings
from mmedpo.config.data import DatasetSettings, DataSettings
from mmedpo.config.engine import EngineSettings, FeaturePlace, Packing
from mmedpo.config.evaluate import EvaluateSettings
from mmedpo.config.executor import ExecutorSettings
from mmedpo.config.explain import explain
from mmedpo.config.groups import Settings
from mmedpo.config.lint import LintSettings
from mmedpo.config.loading import (
    dump_settings,
    idle_endpoints,
    load_answers,
    load_ground,
    load_settings,
    stored_settings,
    validate_settings,
)
from mmedpo.config.model import ModelSettings
from mmedpo.config.names import check_names, own_settings, refuse_demonstration, speaker, tool_settings
from mmedpo.config.run import RunSettings
from mmedpo.config.score import UNWEIGHTED, ScoreSettings, Unscored
from mmedpo.config.slurm import SlurmSettings
from mmedpo.config.train import (
    FinetuneSettings,
    Form,
    Grouping,
    LoraSettings,
    Part,
    TermSettings,
    Tokens,
    TrainSettings,
    WatchSettings,
)

__all__ = [
    "UNWEIGHTED",
    "AssumeSettings",
    "ChatSettings",
    "CurateSettings",
    "DataSettings",
    "DatasetSettings",
    "EndpointSettings",
    "EngineSettings",
    "EvaluateSettings",
    "ExecutorSettings",
    "FeaturePlace",
    "FinetuneSettings",
    "Form",
    "GroundSettings",
    "Grouping",
    "ImportSettings",
    "LintSettings",
    "LoraSettings",
    "ModelSettings",
    "NoiseSettings",
    "Packing",
    "Part",
    "RunSettings",
    "ScoreSettings",
    "Settings",
    "SlurmSettings",
    "Structured",
    "TermSettings",
    "Tokens",
    "TrainSettings",
    "Unscored",
    "WatchSettings",
    "check_names",
    "dump_settings",
    "endpoint_of",
    "explain",
    "idle_endpoints",
    "load_answers",
    "load_ground",
    "load_settings",
    "own_settings",
    "refuse_demonstration",
    "speaker",
    "stored_settings",
    "tool_settings",
    "validate_settings",
]
