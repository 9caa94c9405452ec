"""Loading checkpoints and attaching adapters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from mmedpo.config import LoraSettings, ModelSettings, Part, TrainSettings
from mmedpo.errors import ModelError, shown
from mmedpo.models.checkpoints import checkpoint_path
from mmedpo.models.devices import device_of
from mmedpo.models.family import Family
from mmedpo.models.refusals import checkpoint_refusal
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.registry import lookup, names


def load_model(settings: ModelSettings) -> VisionLanguageModel:
    """Loads a checkpoint by the family of its type, in evaluation mode, frozen.

    Raises:
        ModelError: no family knows the type, a file is missing, or there is no chat template.
    """
    path = checkpoint_path(settings.name)
    family = _family(path, settings.name)
    device = device_of(settings.device)
    loaded = family.load(path, settings.dtype)
    loaded.model.eval().requires_grad_(False)
    bound = family(loaded, settings.name)
    if settings.quantise != "none":
        from mmedpo.models.quantised import quantise

        quantise(loaded.model, bound, device)
    model = loaded.model.to(device)
    if family.templated and loaded.tokenizer.chat_template is None:
        raise ModelError(f"checkpoint {settings.name!r} has no chat template; add chat_template.jinja to its folder")
    return VisionLanguageModel(model, bound, settings.name)


def load_outline(settings: ModelSettings) -> VisionLanguageModel:
    """The model without its weights, for counting: on torch's meta device, frozen.

    Raises:
        ModelError: as `load_model`.
    """
    path = checkpoint_path(settings.name)
    family = _family(path, settings.name)
    loaded = family.outline(path, settings.dtype)
    loaded.model.eval().requires_grad_(False)
    return VisionLanguageModel(loaded.model, family(loaded, settings.name), settings.name)


def _family(path: Path, name: str) -> type[Family]:
    """The class registered for the type of a checkpoint."""
    try:
        config = dict(json.loads((path / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path / 'config.json'} is unreadable ({error}); download the checkpoint again") from None
    refusal = checkpoint_refusal(config, names("family"))
    if refusal:
        raise ModelError(f"checkpoint {name!r} {refusal}")
    found: type[Family] = lookup("family", str(config["model_type"]))
    return found


def make_trainable(vlm: VisionLanguageModel, settings: TrainSettings, seed: int) -> None:
    """Opens the parts of a frozen model that `settings` trains, in place.

    Either a fresh LoRA adapter on every linear layer of the parts (paper, implementation details: on
    the language model, r = 128, alpha = 256; the head that predicts tokens is left alone), or all of
    their weights.
    """
    if settings.tune == "full":
        open_parts(vlm, settings.parts)
        return
    vlm.trained = frozenset(settings.parts)
    _attach_adapter(vlm, settings.lora, seed)


def open_parts(vlm: VisionLanguageModel, parts: Iterable[Part]) -> None:
    """Opens all weights of some parts of a frozen model, in place."""
    vlm.trained = frozenset(parts)
    for name, parameter in vlm.model.named_parameters():
        parameter.requires_grad_(vlm.family.part(name) in vlm.trained)


def _attach_adapter(vlm: VisionLanguageModel, settings: LoraSettings, seed: int) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    linear = {
        name: vlm.family.part(name)
        for name, module in vlm.model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.endswith("lm_head")
    }
    missing = vlm.trained - set(linear.values())
    if missing:
        raise ModelError(
            f"{vlm.name!r} has no linear layers in {', '.join(sorted(missing))}, so an adapter would not train it; "
            "take it out of train.parts, or set train.tune=full"
        )
    targets = [name for name, part in linear.items() if part in vlm.trained]
    # A generator of its own: the adapter's start must not depend on what was drawn before.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vlm.model = get_peft_model(
            vlm.model,
            LoraConfig(
                r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets
            ),
        )


def load_tuned(settings: ModelSettings, folder: Path) -> VisionLanguageModel:
    """Loads what training wrote: the target model with a trained adapter, or a whole checkpoint.

    Raises:
        ModelError: the folder holds neither.
    """
    if (folder / "config.json").exists():
        return load_model(settings.model_copy(update={"name": str(folder)}))
    if not (folder / "adapter_model.safetensors").exists():
        raise ModelError(f"no adapter at {folder}: expected adapter_model.safetensors; run `mmedpo train RUN` first")
    vlm = load_model(settings)
    put_adapter(vlm, folder)
    return vlm


def put_adapter(vlm: VisionLanguageModel, folder: Path) -> None:
    """Puts a trained adapter on the model, in place.

    Raises:
        ModelError: its files cannot be read, or do not fit the model.
    """
    from peft import PeftModel

    _check_adapter(folder)
    try:
        vlm.model = PeftModel.from_pretrained(vlm.model, str(folder)).eval()
    except OSError:
        raise
    except Exception as error:
        raise ModelError(
            f"adapter {folder} is damaged or of another model ({type(error).__name__}); delete it and train again"
        ) from error


def _check_adapter(folder: Path) -> None:
    """Refuses an adapter that training does not write: other kinds name modules to import and tokenizers to load.

    Raises:
        ModelError: it says of itself anything but size, scale, dropout and layers of a LoRA.
    """
    from peft import LoraConfig

    try:
        told = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        LoraSettings(rank=told["r"], alpha=told["lora_alpha"], dropout=told["lora_dropout"])  # their bounds
        written = LoraConfig(**{name: told[name] for name in _OF_AN_ADAPTER})
        own = written.to_dict()  # type: ignore[no-untyped-call]
        odd = [name for name, value in told.items() if name not in _FREE and own.get(name) != value]
        odd += ["peft_type"] if told.get("peft_type") != "LORA" else []
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"adapter {folder} is damaged ({type(error).__name__}); delete it and train again") from None
    if odd:
        raise ModelError(f"adapter {folder} was not written by mmedpo ({shown(odd[0])} differs); train again")


_OF_AN_ADAPTER = ("r", "lora_alpha", "lora_dropout", "target_modules")
_FREE = frozenset(
    {*_OF_AN_ADAPTER, "auto_mapping", "base_model_name_or_path", "inference_mode", "peft_type", "peft_version"}
)
"""Entries that are looked at by nobody, or that training chooses."""
