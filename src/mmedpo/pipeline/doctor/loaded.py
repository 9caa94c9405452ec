"""A model in memory, examined: what it is made of, what it is asked, what it sees, and how answers are computed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmedpo.config import Part, RunSettings
from mmedpo.engine import Branch, Engine, FeatureStore, build_branch
from mmedpo.engine.engine import Agreement
from mmedpo.engine.logprobs import layout_of, missing_inputs, pixel_logprobs, plain_logprobs
from mmedpo.engine.support import trie_refusal
from mmedpo.errors import MMedPOError, ModelError, TrainingError, brief
from mmedpo.imaging.pictures import read_image_file
from mmedpo.models.convert.conversion import RECORD
from mmedpo.models.family import Size
from mmedpo.models.hub import load_model, make_trainable
from mmedpo.models.vlm import UInt8Image, VisionLanguageModel
from mmedpo.pipeline.doctor.cases import Case, Cases
from mmedpo.pipeline.doctor.diagnosis import Diagnosis

PARTS: tuple[Part, ...] = ("language_model", "projector", "vision_tower")
PUBLISHED = "compare with the published checkpoint"
BLIND = 1e-3
"""Nats of an answer's log-probability that another image changes at least, where a model looks at it."""
TYPICAL = Size(512, 512)
"""Picture whose image tokens are told where they depend on the size."""


def examine(settings: RunSettings, folder: Path, cases: Cases, diagnosis: Diagnosis) -> None:
    """Loads the model and looks at everything; what fails is a finding, and what depends on it is left out."""
    try:
        vlm = load_model(settings.model)
        _describe(vlm, diagnosis)
        _words(vlm, (folder / RECORD).is_file(), cases.cases[0], diagnosis)
        _sides(vlm, diagnosis)
        branches = _branches(vlm, cases.cases, settings, diagnosis)
        if cases.examples:
            _lengths(vlm, cases, settings, diagnosis)
        features, whole = FeatureStore(vlm, read_image_file), diagnosis.worst != "error"
        if branches:
            _looks(vlm, features, branches, diagnosis)
        if branches and whole:
            _sharing(vlm, features, branches, settings, diagnosis)
    except MMedPOError as error:
        diagnosis.error(str(error))


def _describe(vlm: VisionLanguageModel, diagnosis: Diagnosis) -> None:
    config, text = vlm.base.config, vlm.text_config
    diagnosis.fact("family", f"{type(vlm.family).__name__} ({config.model_type} on {text.model_type})")
    sizes = dict.fromkeys(PARTS, 0)
    broken = []
    for name, value in vlm.base.named_parameters():
        sizes[vlm.family.part(name)] += value.numel()
        if not bool(torch.isfinite(value).all()):
            broken.append(name)
    for part, size in sizes.items():
        diagnosis.fact(part.replace("_", " "), f"{size:,} parameters")
    dtype = str(vlm.base.dtype).removeprefix("torch.")
    total = sum(value.nbytes for value in vlm.base.parameters())
    diagnosis.fact(
        "in memory", f"{total / 1e9:.3g} GB as {dtype} on {vlm.device}; context {vlm.context_length:,} tokens"
    )
    if broken:
        diagnosis.error(f"{len(broken)} weights hold numbers that are not finite, first {broken[0]}; download again")
    rows = vlm.base.get_input_embeddings().weight.shape[0]
    if len(vlm.tokenizer) > rows:
        diagnosis.error(
            f"the tokenizer knows {len(vlm.tokenizer):,} tokens, the model has {rows:,} rows; copy the tokenizer of "
            "the same checkpoint"
        )
    if vlm.image_token_id >= rows:
        diagnosis.error(f"the image placeholder is id {vlm.image_token_id}, beyond the model's {rows:,} rows")
    if vlm.tokenizer.pad_token_id == vlm.image_token_id:
        diagnosis.error(
            "padding and the image placeholder are one token: padded rows would lack images; set pad_token to the "
            "end-of-text token in tokenizer_config.json"
        )


def _words(vlm: VisionLanguageModel, converted: bool, case: Case, diagnosis: Diagnosis) -> None:
    """Prompt and answer of the first question, and what is odd about them."""
    family, tokenizer = vlm.family, vlm.tokenizer
    sizes = [Size(*read_image_file(view).shape[:2]) for view in case.views]
    ids = vlm.prompt_ids(case.question, sizes)
    diagnosis.fact("prompt", _spelled(vlm, ids))
    others = f", {family.image_tokens(TYPICAL)} for 512 x 512" if family.sized else " whatever its size"
    diagnosis.fact("image tokens", f"{family.image_tokens(sizes[0])} for {sizes[0].height} x {sizes[0].width}{others}")
    answer = vlm.answer_ids(case.chosen)
    told = " ".join(repr(str(token)) for token in tokenizer.convert_ids_to_tokens(answer))
    diagnosis.fact("answer", f"{case.chosen!r} is {told}")
    ends = sorted(str(token) for token in tokenizer.convert_ids_to_tokens(sorted(family.stops)))
    diagnosis.fact("ends at", ", ".join(ends))
    if " ".join(case.question.split()) not in " ".join(vlm.tokenizer.decode(ids).split()):
        diagnosis.error("the chat template leaves the question out; replace it by that of the published checkpoint")
    openings = ids.count(tokenizer.bos_token_id) if tokenizer.bos_token_id is not None else None
    if converted:
        return
    if openings == 0 and tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id:
        diagnosis.warn(
            f"prompts lack {tokenizer.bos_token!r}, with which texts begin; compare with the published template"
        )
    if openings is not None and openings > 1 and tokenizer.bos_token_id != tokenizer.eos_token_id:
        diagnosis.warn(f"prompts begin with {openings} x {tokenizer.bos_token!r}; take it out of the chat template")
    if family.templated:
        _template(vlm, case, diagnosis)


def _template(vlm: VisionLanguageModel, case: Case, diagnosis: Diagnosis) -> None:
    """What a chat template that is another model's mostly gets wrong."""
    content = [*({"type": "image"} for _ in case.views), {"type": "text", "text": case.question}]
    turns = [{"role": "user", "content": content}]
    told = [*turns, {"role": "assistant", "content": [{"type": "text", "text": case.chosen}]}]
    render = vlm.tokenizer.apply_chat_template
    try:
        whole = str(render(told, tokenize=False))
    except Exception as error:  # a template may raise what it likes
        diagnosis.error(f"the chat template cannot render an answer ({brief(str(error), 80)}); {PUBLISHED}")
        return
    if case.chosen.strip() not in whole:
        diagnosis.error(f"the chat template leaves the answer out; {PUBLISHED}")
    opened = vlm.family.render(case.question, len(case.views))
    if not whole.startswith(opened.rstrip()):
        diagnosis.warn(f"a prompt ends otherwise than what stands before a given answer; {PUBLISHED}")
    behind = whole.rpartition(case.chosen.strip())[2]
    special = {str(token) for token in vlm.tokenizer.added_tokens_decoder.values() if token.special}
    if not any(token in behind for token in special):
        eos = vlm.tokenizer.eos_token
        diagnosis.warn(f"the chat template ends no answer with a special token, so {eos!r} is put there; {PUBLISHED}")
    unknown = [mark for mark in ("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<|eot_id|>") if mark in whole]
    split = [mark for mark in unknown if len(vlm.tokenizer(mark, add_special_tokens=False)["input_ids"]) > 1]
    if split:
        diagnosis.warn(
            f"the chat template writes {split[0]!r}, no token of this tokenizer; it is another model's: {PUBLISHED}"
        )


def _sides(vlm: VisionLanguageModel, diagnosis: Diagnosis) -> None:
    """Whether what lies at the side of a wide picture reaches the model at all."""
    picture = np.random.default_rng(0).integers(0, 256, (96, 192, 3), dtype=np.uint8)
    changed = picture.copy()
    changed[:, :24] = 255 - changed[:, :24]
    one, other = vlm.inputs(picture), vlm.inputs(changed)
    if all(torch.equal(value, other[name]) for name, value in one.items()):
        diagnosis.warn(
            "the image processor cuts the sides of a wide picture off: what lies there is never seen; where the model "
            "was trained on padded pictures, take the published preprocessor_config.json, or do_pad with "
            "LlavaImageProcessor"
        )


def _branches(
    vlm: VisionLanguageModel, cases: Sequence[Case], settings: RunSettings, diagnosis: Diagnosis
) -> list[Branch]:
    """Both answers to each question; empty where one is too long, which is noted."""
    longest = settings.train.max_length
    branches = []
    for case in cases:
        for text in (case.chosen, case.rejected):
            try:
                branches.append(
                    build_branch(vlm, case.views, case.question, text, max_length=longest, owner="a question")
                )
            except TrainingError as error:
                diagnosis.error(str(error))
                return []
    return list(dict.fromkeys(branches))


def _lengths(vlm: VisionLanguageModel, cases: Cases, settings: RunSettings, diagnosis: Diagnosis) -> None:
    """Lengths of every training question of the data, and what is too long."""
    limit = min(settings.train.max_length, vlm.context_length)
    prompts, answers = [], []
    for example in cases.examples:
        sizes = [Size(image.height, image.width) for image in example.images]
        prompts.append(len(vlm.prompt_ids(example.question, sizes)))
        answers.append(len(vlm.answer_ids(example.answer)))
    totals = np.array(prompts) + np.array(answers)
    share = sum(answers) / float(totals.sum())
    diagnosis.fact(
        "questions",
        f"{len(totals):,} to train on; {int(np.median(totals))} tokens at the median, {totals.max()} at most",
    )
    diagnosis.fact("label tokens", f"{share:.1%} of all tokens")
    over = int((totals > limit).sum())
    if over:
        diagnosis.error(
            f"{over:,} of {len(totals):,} training questions are longer than {limit} tokens (the longest "
            f"{totals.max()}); raise train.max_length, up to the context of {vlm.context_length:,}"
        )


@torch.no_grad()
def _looks(vlm: VisionLanguageModel, features: FeatureStore, branches: Sequence[Branch], diagnosis: Diagnosis) -> None:
    """Features against pixels, and the same answer on another picture."""
    first = branches[0]
    if "label tokens" not in dict(diagnosis.facts):
        labels = sum(len(branch.response) for branch in branches)
        tokens = sum(len(branch.prompt) + len(branch.response) for branch in branches)
        diagnosis.fact("label tokens", f"{labels / tokens:.1%} of the sample questions' tokens")
    left_out = missing_inputs(vlm, first)
    if left_out:
        diagnosis.error(
            f"the model takes {', '.join(left_out)}, which its family does not give; use another checkpoint"
        )
        return
    kept, own = plain_logprobs(vlm, [first], features).values, pixel_logprobs(vlm, first, features).values
    apart = _apart(kept, own)
    diagnosis.fact("features", f"differ from pixels by {apart:.2g} nats")
    if not Agreement(apart, 0.0).holds(vlm.base.dtype):
        diagnosis.error(
            f"log-probs from image features and from pixels differ by {apart:.2g} nats; the family leaves out an input "
            "of this model: use another checkpoint"
        )
    changed = _apart(own, _on(vlm, first, 255 - read_image_file(first.views[0])))
    diagnosis.fact("another image", f"changes the answer's log-probs by {changed:.2g} nats")
    if not changed > BLIND:
        diagnosis.error(
            "the picture does not reach the answer: inverted, it changes nothing; projector or vision tower are not "
            "trained, or the picture lies beyond the model's sliding windows: use another checkpoint"
        )


def _on(vlm: VisionLanguageModel, branch: Branch, picture: UInt8Image) -> Tensor:
    """Log-probs of a branch with another picture in the place of its first."""
    return pixel_logprobs(vlm, branch, FeatureStore(vlm, lambda view: picture)).values


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def _sharing(
    vlm: VisionLanguageModel,
    features: FeatureStore,
    branches: Sequence[Branch],
    settings: RunSettings,
    diagnosis: Diagnosis,
) -> None:
    """What the trie will do in training, decided as a run decides it."""
    columns = layout_of(vlm, branches).columns
    rows = sum(len(branch.prompt) + len(branch.response) - 1 for branch in branches)
    try:
        make_trainable(vlm, settings.train, 0)
    except ModelError as error:
        diagnosis.error(str(error))
        return
    vlm.model.train()
    said: list[str] = []
    # Kept features may be of before: parts that are trained now are computed anew.
    engine = Engine.from_settings(vlm, FeatureStore(vlm, read_image_file), settings)
    agreement = engine.settle(branches, strict=False, message=said.append)
    told = "as plain sequences"
    if engine.form != "plain":
        told = f"{engine.form}: {rows:,} tokens of the sample become {columns:,}"
    if agreement is not None:
        told += f"; log-probs {agreement.logprob:.1g} nats from plain, gradients {agreement.gradient:.1g} of their norm"
    diagnosis.fact("trie", told)
    reason = trie_refusal(vlm.text_config)
    if engine.form == "plain" and settings.engine.packing != "off":
        diagnosis.warn(f"{reason or said[-1]}; every answer is computed by itself: exact, and several times slower")
    elif engine.form == "dense":
        diagnosis.warn(f"{said[-1]}; lower engine.max_tokens where memory ends")


def _spelled(vlm: VisionLanguageModel, ids: Sequence[int]) -> str:
    """A prompt as text, special tokens included, the placeholders of a picture counted."""
    parts = []
    for is_image, group in groupby(ids, key=lambda token: token == vlm.image_token_id):
        run = list(group)
        if is_image:
            parts.append(f"{vlm.family.image_token} x {len(run)}" if len(run) > 1 else vlm.family.image_token)
        else:
            parts.append(brief(repr(str(vlm.tokenizer.decode(run))), 600))
    return " ".join(parts)
