"""The way through the house: which stages a recipe has, what each reads and writes, and running them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from mmedpo.config import RunSettings
from mmedpo.errors import ConfigError
from mmedpo.records import Example
from mmedpo.run import FINETUNED, IMAGES, Run, Stage
from mmedpo.storage.files import hash_path

DATA_NOTES = "data.json"


def plan(run: Run) -> list[Stage]:
    """The stages of a run, in order."""
    settings = run.settings
    base: tuple[str, ...] = (FINETUNED,) if settings.finetune is not None else ()
    stages = [_data(run)]
    if settings.finetune is not None:
        stages.append(_finetune(settings))
    stages += [*_pairs(settings, base), _score(settings), _train(settings, base)]
    stages += [_predict(settings, base, "base"), _predict(settings, base, "tuned"), _evaluate(settings), _report(run)]
    return stages


def run_stages(run: Run, until: str | None = None, only: str | None = None) -> None:
    """Executes the stages that are not done, in order.

    Args:
        run: an open run.
        until: the last stage to execute; None for all.
        only: the single stage to execute; what it reads must be there.

    Raises:
        ConfigError: no such stage in this recipe.
    """
    stages = plan(run)
    names = [stage.name for stage in stages]
    for wanted in (until, only):
        if wanted is not None and wanted not in names:
            raise ConfigError(f"this recipe has no stage {wanted!r}; it has {', '.join(names)}")
    done = []
    wanted_stages = stages[: names.index(until) + 1] if until is not None else stages
    if only is not None:
        wanted_stages = [stage for stage in stages if stage.name == only]
    if run.file(DATA_NOTES).exists():
        _check_endpoints(run, wanted_stages)
    for stage in wanted_stages:
        if not run.execute(stage):
            done.append(stage.name)
        if stage.name == "data":
            _check_splits(run)
            _check_endpoints(run, wanted_stages)
    if done:
        run.message(f"already done: {', '.join(done)}")


def _check_endpoints(run: Run, stages: Sequence[Stage]) -> None:
    """Refuses at the start what would be refused after the sampling: data that may not leave, a missing key."""
    ahead = {stage.name for stage in stages if stage.name in ("curate", "score") and not run.is_done(stage)}
    curate = run.settings.used_endpoints("curate") if "curate" in ahead else ()
    score = run.settings.used_endpoints("score") if "score" in ahead else ()
    if curate or score:
        from mmedpo.chat.opening import check_endpoints

        check_endpoints(run, tuple(dict.fromkeys((*curate, *score))))


def _check_splits(run: Run) -> None:
    """Refuses before an hour of training what evaluation would refuse after it."""
    present = {example.split for example in run.read("examples.parquet", Example)}
    for split in (*run.settings.evaluate.splits, "validation"):
        if split not in present:
            raise ConfigError(f"split {split!r} is not in the data, which has {', '.join(sorted(present))}")


def _data(run: Run) -> Stage:
    settings = run.settings

    def work(run: Run) -> None:
        from mmedpo.data.stage import load_data

        load_data(run)

    content: dict[str, Any] = {"data": settings.data.model_dump(mode="json")}
    if settings.data.root is not None:
        content["files"] = _listing(settings.data.root)
    if settings.data.max_train_examples is not None:
        content["seed"] = settings.seed
    writes, images = ("examples.parquet", "data.json"), (IMAGES,)
    if settings.data.root is None:
        return Stage("data", work, content, writes=(*writes, *images))
    return Stage("data", work, content, writes=writes, may_write=images)


def _finetune(settings: RunSettings) -> Stage:
    def work(run: Run) -> None:
        from mmedpo.train.finetune import finetune

        finetune(run)

    assert settings.finetune is not None
    content = {"finetune": settings.finetune.model_dump(mode="json"), "seed": settings.seed, **_model(settings)}
    return Stage("finetune", work, content, reads=("examples.parquet",), writes=(FINETUNED,))


def _pairs(settings: RunSettings, base: tuple[str, ...]) -> list[Stage]:
    writes = ("candidates.parquet", "verdicts.parquet", "images", "curated.parquet")
    if settings.preferences is not None:
        imported = settings.preferences

        def bring(run: Run) -> None:
            from mmedpo.preferences.stage import import_pairs

            import_pairs(run)

        content: dict[str, Any] = {"preferences": imported.model_dump(mode="json"), "file": _file_hash(imported.path)}
        return [Stage("curate", bring, content, reads=("examples.parquet",), writes=writes)]

    def mark(run: Run) -> None:
        from mmedpo.grounding.stage import ground

        ground(run)

    def make(run: Run) -> None:
        from mmedpo.curate.stage import curate

        curate(run)

    visual = "visual" in settings.curate.kinds
    stages = []
    if visual:
        content = {"ground": settings.ground.model_dump(mode="json", exclude={"minimum_confidence"})}
        if Path(settings.ground.probe).suffix == ".json":
            content["probe"] = _file_hash(Path(settings.ground.probe))
        grounded = ("groundings.parquet", "groundings")
        stages.append(Stage("ground", mark, content, reads=("examples.parquet",), writes=grounded))
    content = {"curate": settings.curate.model_dump(mode="json"), "seed": settings.seed, **_model(settings)}
    content |= _language_models(settings, "curate")
    if visual:
        content["minimum_confidence"] = settings.ground.minimum_confidence
    reads = ("examples.parquet", *(("groundings.parquet", "groundings") if visual else ()), *base)
    stages.append(Stage("curate", make, content, reads=reads, writes=writes))
    return stages


def _score(settings: RunSettings) -> Stage:
    def work(run: Run) -> None:
        from mmedpo.score.stage import score

        score(run)

    content: dict[str, Any] = {
        "score": settings.score.model_dump(mode="json"),
        "imported": settings.preferences is not None,
        **_language_models(settings, "score"),
    }
    writes = ("debates.parquet", "weights.parquet", "pairs.parquet")
    return Stage("score", work, content, reads=("curated.parquet",), writes=writes)


def _train(settings: RunSettings, base: tuple[str, ...]) -> Stage:
    def work(run: Run) -> None:
        from mmedpo.evaluate.generate import probe_answers
        from mmedpo.train.stage import train

        protocol = run.settings.evaluate.protocol
        train(run, lambda vlm, features, examples: probe_answers(vlm, features, examples, run.image_root, protocol))

    content = {
        "train": settings.train.model_dump(mode="json"),
        "seed": settings.seed,
        "protocol": settings.evaluate.protocol,
        **_model(settings),
    }
    reads = ("examples.parquet", "pairs.parquet", "images", *base)
    reference = ("reference",) if settings.train.method == "preference" else ()
    writes = ("train", settings.train.result, *reference)
    return Stage("train", work, content, reads=reads, writes=writes)


def _predict(settings: RunSettings, base: tuple[str, ...], model: str) -> Stage:
    def work(run: Run) -> None:
        from mmedpo.evaluate.stage import predict_model

        predict_model(run, model)

    fields = {"splits", "max_new_tokens", "batch_size", "answer_types", "reliance_images"}
    content = {"evaluate": settings.evaluate.model_dump(mode="json", include=fields), **_model(settings)}
    reads = ("examples.parquet", *base, *((settings.train.result,) if model == "tuned" else ()))
    writes = (f"predictions/{model}.parquet", f"reliance/{model}.parquet")
    return Stage(f"predict-{model}", work, content, reads=reads, writes=writes)


def _evaluate(settings: RunSettings) -> Stage:
    def work(run: Run) -> None:
        from mmedpo.evaluate.stage import evaluate

        evaluate(run)

    content = {"evaluate": settings.evaluate.model_dump(mode="json")}
    reads = (
        "examples.parquet",
        *(f"{kind}/{model}.parquet" for kind in ("predictions", "reliance") for model in ("base", "tuned")),
    )
    return Stage("evaluate", work, content, reads=reads, writes=("evaluation.json",))


def _report(run: Run) -> Stage:
    def work(run: Run) -> None:
        from mmedpo.report.gather import write_report

        write_report(run)

    content = {"settings": run.settings.model_dump(mode="json"), "code": _report_code()}
    reads = (
        "evaluation.json",
        "train",
        "images",
        *(f"{table}.parquet" for table in ("examples", "candidates", "verdicts", "curated", "pairs")),
        *(f"{table}.parquet" for table in ("debates", "weights", "predictions/base", "predictions/tuned")),
    )
    return Stage("report", work, content, reads=reads, writes=("report.html",))


def _model(settings: RunSettings) -> dict[str, Any]:
    from mmedpo.models.hub import checkpoint_hash

    return {
        "model": checkpoint_hash(settings.model.name),
        "dtype": settings.model.dtype,
        "autocast": settings.model.autocast,
    }


def _language_models(settings: RunSettings, stage: Literal["curate", "score"]) -> dict[str, Any]:
    """What decides the answers of the language models a stage asks; where they are reached changes nothing."""
    from mmedpo.chat.model import model_identity
    from mmedpo.chat.prompts import prompts_hash

    names = settings.used_endpoints(stage)
    if not names:
        return {}
    models = {name: model_identity(settings.chat.endpoints[name]) for name in names}
    return {"chat": models, "retries": settings.chat.retries, "prompts": prompts_hash(f"mmedpo.{stage}")}


def _report_code() -> str:
    """Hash of everything that shapes the page, so that a changed template renders anew."""
    package = Path(__file__).parents[1]
    files = (package / "report").rglob("*")
    wanted = sorted(file for file in files if file.suffix in {".py", ".j2", ".css"})
    return hashlib.sha256("".join(hash_path(file) for file in wanted).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    if not path.exists():
        raise ConfigError(f"file {path} does not exist; check the recipe or --set")
    return hash_path(path)


def _listing(root: Path) -> str:
    """Hash of names, sizes and times of a dataset's files: cheap, and changes when the data does."""
    root = root.expanduser()
    if not root.is_dir():
        raise ConfigError(f"data.root={str(root)!r} is not a folder; give the dataset's folder as downloaded")
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*")):
        if file.is_file():
            status = file.stat()
            digest.update(f"{file.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
