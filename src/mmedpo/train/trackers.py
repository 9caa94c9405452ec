"""Experiment trackers of transformers: whether one can be used, asked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence

from mmedpo.errors import ConfigError, brief, shown


def check_trackers(names: Sequence[str]) -> None:
    """Refuses what the trainer would refuse after the sampling and the debates.

    Raises:
        ConfigError: a tracker that transformers does not know, or whose package is not installed.
    """
    if not names:
        return
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK as trackers

    for name in names:
        if name not in trackers:
            raise ConfigError(f"train.report_to holds {shown(name)}; trackers are {', '.join(sorted(trackers))}")
        try:
            trackers[name]()
        except Exception as error:
            why = brief(" ".join(str(error).split()))
            raise ConfigError(
                f"train.report_to={name} cannot be used: {why}; install its package, or remove it"
            ) from None
