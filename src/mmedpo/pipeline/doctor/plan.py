"""`mmedpo doctor --plan`: memory, disk, calls and time of a recipe, before it is run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from mmedpo.config import RunSettings, load_settings
from mmedpo.engine.accounting import PassCost, pass_cost
from mmedpo.engine.features import MEMORY_SHARE
from mmedpo.engine.support import trie_refusal
from mmedpo.errors import ModelError, TrainingError
from mmedpo.models.devices import device_of
from mmedpo.models.family import Size
from mmedpo.models.hub import load_outline, make_trainable
from mmedpo.models.quantised import held_bytes
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.pipeline.doctor.cases import Cases, of_recipe
from mmedpo.pipeline.doctor.diagnosis import Diagnosis
from mmedpo.pipeline.doctor.folder import examine_folder
from mmedpo.pipeline.doctor.measured import Measured, measure
from mmedpo.pipeline.doctor.workload import Workload, workload
from mmedpo.progress import Reporter, duration

TIGHT = 0.85
"""Share of a device's memory from which a plan is called tight: the estimate is within 15 %."""
CHECKPOINTS = 2
"""Training keeps the last two, each with the optimizer's state, beside the best and the last result."""


class Memory(NamedTuple):
    """Bytes on the device while training."""

    weights: int
    trained: int
    """Of the weights, those that are trained: an adapter, or parts of the model."""
    gradients: int
    optimizer: int
    """AdamW: two numbers for each trained one."""
    activations: PassCost

    @property
    def total(self) -> int:
        """At the peak."""
        return self.weights + self.gradients + self.optimizer + self.activations.peak


def plan_recipe(recipe: str, overrides: Sequence[str], reporter: Reporter, *, measure: bool) -> Diagnosis:
    """What a recipe takes, counted on its own questions; with `measure`, one step is run for the time.

    Raises:
        ConfigError: an unknown recipe or setting.
        DataError: its data cannot be read.
    """
    settings = load_settings(recipe, list(overrides))
    diagnosis = Diagnosis()
    diagnosis.fact("recipe", f"{recipe} with {settings.model.name}")
    if examine_folder(settings.model.name, diagnosis) is None:
        return diagnosis
    with of_recipe(settings, reporter) as cases:
        try:
            _plan(settings, cases, diagnosis, reporter, measured=measure)
        except (ModelError, TrainingError) as error:
            diagnosis.error(str(error))
    return diagnosis


def training_memory(vlm: VisionLanguageModel, work: Workload, settings: RunSettings) -> Memory:
    """Bytes of weights, gradients, optimizer and the largest pass.

    Args:
        vlm: an outline, opened for training.
        work: the training.
        settings: of the run.
    """
    changed = [value for value in vlm.model.parameters() if value.requires_grad]
    trained = sum(value.nbytes for value in changed)
    # Of 16-bit weights, fine-tuning steps a copy in float32, gradient included.
    copied = sum(4 * value.numel() for value in changed if value.element_size() < 4)
    moments = 2 * sum(max(4, value.element_size()) * value.numel() for value in changed)
    cost = pass_cost(vlm, work.largest, recomputed=settings.train.activation_checkpointing)
    if settings.model.quantise == "none":
        weights = sum(value.nbytes for value in vlm.model.parameters())
    else:
        weights = held_bytes(vlm.base, vlm.family)
    return Memory(weights, trained, trained + copied, moments + copied, cost)


def _plan(settings: RunSettings, cases: Cases, diagnosis: Diagnosis, reporter: Reporter, *, measured: bool) -> None:
    device, here = _device(settings.model.device)
    vlm = load_outline(settings.model)
    total = sum(value.numel() for value in vlm.model.parameters())
    make_trainable(vlm, settings.train, 0)
    vlm.model.train()
    work = workload(vlm, cases, settings, device)
    memory = training_memory(vlm, work, settings)
    trained = sum(value.numel() for value in vlm.model.parameters() if value.requires_grad)
    diagnosis.fact("parameters", f"{total:,}, trained {trained:,} ({settings.train.tune})")
    diagnosis.fact("questions", f"{work.questions:,} to train on, {work.views:,} image views, {work.steps:,} steps")
    _tell_memory(memory, vlm, device if here else None, diagnosis)
    feature_bytes = _feature_bytes(vlm, cases, work)
    free = psutil.virtual_memory().available
    place = "in memory" if feature_bytes <= MEMORY_SHARE * free else "on disk, or computed anew"
    diagnosis.fact("image features", f"{_size(feature_bytes)} ({place})")
    _tell_disk(memory, feature_bytes if place != "in memory" else 0, cases, work, diagnosis)
    diagnosis.fact("calls", _calls(settings, work, _asked(settings, cases), _asked(settings, cases, headline=True)))
    before = _finetuning(settings, vlm.context_length)
    if before is not None:
        _plan_finetuning(before, cases, diagnosis, reporter, device=device, here=here, measured=measured)
    if trie_refusal(vlm.text_config) or settings.engine.packing == "off":
        diagnosis.warn("answers are not shared (plain sequences): a pass may take several times the memory told here")
    if diagnosis.worst == "error":
        return
    if measured and here:
        del vlm
        reporter.message("measuring one step")
        _tell_time(settings, cases, work, measure(settings, work, cases), memory, diagnosis)


def _finetuning(settings: RunSettings, longest: int) -> RunSettings | None:
    """The `finetune` stage as a training: all answers of an image together."""
    if settings.finetune is None:
        return None
    train = settings.finetune.as_training(longest)
    return settings.model_copy(update={"train": train, "finetune": None, "rounds": 1})


def _plan_finetuning(
    settings: RunSettings,
    cases: Cases,
    diagnosis: Diagnosis,
    reporter: Reporter,
    *,
    device: str,
    here: bool,
    measured: bool,
) -> None:
    vlm = load_outline(settings.model)
    make_trainable(vlm, settings.train, 0)
    vlm.model.train()
    work = workload(vlm, cases, settings, device)
    memory = training_memory(vlm, work, settings)
    told = f"{_size(memory.total)} before curation, {_size(memory.activations.peak)} of them activations"
    if measured and here:
        reporter.message("measuring one step of fine-tuning")
        step = work.columns_per_step * measure(settings, work, cases).column
        diagnosis.seconds = work.steps * step
        told += f"; {work.steps:,} steps, {duration(diagnosis.seconds)}"
    diagnosis.fact("fine-tuning", told)
    if here:
        fix = (
            "lower engine.max_tokens, set finetune.lora={} or finetune.activation_checkpointing=true, or leave it out "
            "for a model that has been trained: --set finetune=null"
        )
        _tell_fit("fine-tuning", memory, device, fix, diagnosis)


def _device(wanted: str) -> tuple[str, bool]:
    """The device of a recipe, and whether it is here: a server's runs may be planned on a laptop."""
    try:
        return device_of(wanted), True
    except ModelError:
        return wanted, False


def _tell_memory(memory: Memory, vlm: VisionLanguageModel, device: str | None, diagnosis: Diagnosis) -> None:
    cost = memory.activations
    diagnosis.fact("weights", f"{_size(memory.weights)} as {str(vlm.base.dtype).removeprefix('torch.')}")
    diagnosis.fact("gradients, AdamW", _size(memory.gradients + memory.optimizer))
    vision = f", {_size(cost.vision)} of them of the vision side" if cost.vision else ""
    diagnosis.fact("activations", f"{_size(cost.peak)} in the largest pass, of {cost.columns:,} tokens{vision}")
    if device is None:
        diagnosis.fact("memory", f"{_size(memory.total)} while training; its device is not here, so time is not told")
        return
    there, name = _capacity(device)
    diagnosis.fact("memory", f"{_size(memory.total)} while training; {name} has {_size(there)}")
    fix = (
        "lower engine.max_tokens or train.batch_groups, set train.activation_checkpointing=true, model.dtype=bfloat16 "
        "or model.quantise=nf4"
    )
    _tell_fit("training", memory, device, fix, diagnosis)


def _tell_fit(what: str, memory: Memory, device: str, fix: str, diagnosis: Diagnosis) -> None:
    there, name = _capacity(device)
    if memory.total > there:
        diagnosis.error(f"{what} takes {_size(memory.total)}, more than the {_size(there)} of {name}; {fix}")
    elif memory.total > TIGHT * there:
        diagnosis.warn(f"{what} takes {memory.total / there:.0%} of the memory of {name}: it may end; {fix}")


def _capacity(device: str) -> tuple[int, str]:
    """Bytes free for this process on a device, and its name."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0]), torch.cuda.get_device_name(device)
    return int(psutil.virtual_memory().available), "this machine's memory"


def _feature_bytes(vlm: VisionLanguageModel, cases: Cases, work: Workload) -> int:
    """Kept image features of all views of training: a row of the language model's width for every image token."""
    if vlm.volatile:
        return 0
    shown = {image.sha256: image for example in cases.examples for image in example.images}
    sizes = {sha: Size(image.height, image.width) for sha, image in shown.items()}
    tokens = sum(vlm.family.image_tokens(size) for size in sizes.values()) / len(sizes)
    deep = len(getattr(vlm.base.config.vision_config, "deepstack_visual_indexes", None) or ())
    width = int(vlm.text_config.hidden_size) * torch.empty((), dtype=vlm.base.dtype).element_size()
    return round(work.views * tokens * width * (1 + deep))


def _tell_disk(memory: Memory, features: int, cases: Cases, work: Workload, diagnosis: Diagnosis) -> None:
    """What the run folder will hold: checkpoints while training, results, features, noised views, reference."""
    images = {image.sha256: image for example in cases.examples for image in example.images}
    noised = max(work.views - len(images), 0) * sum(i.width * i.height for i in images.values()) / len(images)
    results = CHECKPOINTS * (memory.trained + memory.optimizer) + 3 * memory.trained
    needed = round(results + features + noised + 4 * work.targets)
    free = shutil.disk_usage(Path.cwd()).free
    diagnosis.fact("disk", f"{_size(needed)} in the run folder (checkpoints {_size(results)}); {_size(free)} are free")
    if needed > free:
        diagnosis.error(f"the run takes {_size(needed)} of disk, {_size(free)} are free; make room or use --runs")


def _asked(settings: RunSettings, cases: Cases, *, headline: bool = False) -> int:
    """Questions that each model is evaluated on, or those of the first split alone."""
    splits, types = settings.evaluate.splits, settings.evaluate.answer_types
    splits = splits[:1] if headline else splits
    return sum(example.split in splits and example.answer_type in types for example in cases.everything)


def _calls(settings: RunSettings, work: Workload, asked: int, headline: int) -> str:
    """Calls of language models, by what asks them.

    Args:
        settings: of the run.
        work: the training.
        asked: questions that are evaluated.
        headline: those of the first split.
    """
    parts = []
    if settings.judging:
        parts.append(f"judge {settings.judging[0]}: at least {work.questions:,}")
    sampled = work.questions * settings.curate.candidates if settings.samples else 0
    for server, number in ((settings.model.server, sampled + asked), (settings.model.tuned_server, asked)):
        if server:
            parts.append(f"server {server}: {number:,}")
    speaking = [name for name in settings.score.agents if ":" in name] if settings.used_endpoints("score") else []
    if speaking:
        least = work.questions * len(speaking)
        parts.append(f"agents: {least:,} to {least * settings.score.rounds:,}")
    told = "; ".join(parts) + (f", each of {settings.rounds} rounds" if settings.rounds > 1 and parts else "")
    if settings.evaluate.judges:
        judged = 2 * headline * len(settings.evaluate.judges)
        told += f"{'; ' if told else ''}judges of answers: {judged:,}, fewer where two answers are alike"
    return f"{told} (`mmedpo curate RUN --estimate` for money)" if told else "none"


def _tell_time(
    settings: RunSettings, cases: Cases, work: Workload, found: Measured, memory: Memory, diagnosis: Diagnosis
) -> None:
    if found.peak is not None:
        diagnosis.fact("measured peak", f"{_size(found.peak)} in a pass of a typical step")
    train = settings.train
    answering = (settings.model.server, settings.model.tuned_server).count("")
    looks = 1 + work.steps // train.watch.every
    sampled_here = settings.samples and not settings.model.server
    answers = {
        "sampling": work.questions * settings.curate.candidates if sampled_here else 0,
        "watching": looks * min(train.watch.questions, sum(e.split == "validation" for e in cases.everything)),
        "answering": answering * _asked(settings, cases),
    }
    per_step = work.columns_per_step * found.column
    seconds = {
        "image features": work.views * found.encode,
        "reference": work.steps / train.epochs * work.columns_per_step * found.forward,
        "training": work.steps * per_step,
        **{name: number * work.answer_tokens * found.answer_token for name, number in answers.items()},
    }
    if train.method == "sft":
        del seconds["reference"]
    diagnosis.fact("one step", f"{per_step:.2g} s, {work.columns_per_step:,.0f} tokens after sharing")
    told = ", ".join(f"{name} {duration(value)}" for name, value in seconds.items() if value >= 1)
    total = settings.rounds * (sum(seconds.values()) - seconds["answering"]) + seconds["answering"]
    diagnosis.seconds = total + (diagnosis.seconds or 0.0)
    diagnosis.fact("time", f"{duration(total)}: {told or 'all of it short'}; without calls, tools and reading")


def _size(number: float) -> str:
    """`512 B`, `3.4 MB`, `15.2 GB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f} B"
