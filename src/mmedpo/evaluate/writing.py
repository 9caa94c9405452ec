"""The answers of a run, written as files of other programs."""

from __future__ import annotations

from pathlib import Path

from mmedpo.errors import ConfigError
from mmedpo.evaluate.asked import compared, evaluated_examples
from mmedpo.evaluate.given import AnsweredQuestion, AnswerFormat, ModelAnswers
from mmedpo.records import ItemScore, Prediction
from mmedpo.registry import lookup, names
from mmedpo.run import Run
from mmedpo.run.layout import SCORES, predictions_of
from mmedpo.storage.paths import written


def writing(targets: list[str]) -> dict[str, Path]:
    """Layout -> folder, of texts `LAYOUT=FOLDER`.

    Raises:
        ConfigError: another text, or a layout that is unknown, named twice, or only read.
    """
    found: dict[str, Path] = {}
    for target in targets:
        name, _, folder = target.partition("=")
        if not folder or name in found:
            raise ConfigError(f"--write {target[:80]!r}: give LAYOUT=FOLDER, every layout once, e.g. lmms-eval=logs/")
        if not hasattr(lookup("answer-format", name), "write"):
            can = [known for known in names("answer-format") if hasattr(lookup("answer-format", known), "write")]
            raise ConfigError(
                f"--write {name}: files of this layout are read, not written; written are {', '.join(can)}"
            )
        found[name] = Path(folder).expanduser()
    return found


def write_answers(run: Run, name: str, folder: Path) -> list[Path]:
    """One file for each model of an evaluated run.

    Args:
        run: reads `examples.parquet`, `predictions/<model>.parquet` and `scores.parquet`.
        name: registered layout that writes.
        folder: where the files go; made if it is not there.

    Raises:
        EvaluationError: an answer that the layout cannot hold.
        DataError: the folder cannot be written to.
    """
    layout: AnswerFormat = lookup("answer-format", name)()
    with written(folder):
        return [layout.write(_own(run, model), folder) for model in compared(run.settings)]


def _own(run: Run, model: str) -> ModelAnswers:
    protocol = run.settings.evaluate.protocol
    answers = {answer.example_id: answer for answer in run.read(predictions_of(model), Prediction)}
    values = {
        item.example_id: item.values
        for item in run.read(SCORES, ItemScore)
        if (item.model, item.protocol) == (model, protocol)
    }
    found = [
        AnsweredQuestion(example, answers[example.example_id], values[example.example_id])
        for example in evaluated_examples(run)
    ]
    return ModelAnswers(
        f"{run.path.resolve().name}-{model}", run.settings.data.dataset, protocol, run.manifest.created, found
    )
