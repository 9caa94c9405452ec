"""Every stage of the loop as one function of a run: the Python side of the command line.

    from mmedpo import load_settings, open_run, stages

    with open_run(Path("runs/mine"), load_settings("phantom-mmedpo")) as run:
        stages.load_data(run)

`mmedpo.run_stages(run)` executes all of them with fingerprints and resume; called alone, a stage reads
and writes the run's tables without either.
"""

from mmedpo.curate.stage import curate
from mmedpo.data.stage import load_data
from mmedpo.evaluate.judging import judge_answers
from mmedpo.evaluate.stage import evaluate, predict_model
from mmedpo.grounding.stage import ground
from mmedpo.preferences.stage import import_pairs
from mmedpo.report.gather import write_report
from mmedpo.score.stage import score
from mmedpo.train.finetune import finetune
from mmedpo.train.training import train

__all__ = [
    "curate",
    "evaluate",
    "finetune",
    "ground",
    "import_pairs",
    "judge_answers",
    "load_data",
    "predict_model",
    "score",
    "train",
    "write_report",
]
