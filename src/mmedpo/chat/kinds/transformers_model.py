"""A checkpoint in this process: any causal language model with a chat template, from a local folder.

Calls in flight are written in one batch by the model's own `generate`, prompts padded on the left. Its continuous
batching was measured as well and is not used: on a CPU it is slower than one reply at a time, and it has no place for a
form of its own per reply (docs/results/local-models.md).
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmedpo.chat.gathering import Gathering
from mmedpo.chat.model import CallFailed, ChatReply, ChatRequest, Usage
from mmedpo.config import EndpointSettings
from mmedpo.errors import ChatError
from mmedpo.progress import duration
from mmedpo.registry import register

ANY_OBJECT = {"type": "object"}
"""The form of `structured: json_object`."""


def installed() -> bool:
    """Whether the library is there that holds replies to a form."""
    return importlib.util.find_spec("llguidance") is not None


@dataclass
class Loaded:
    """A model that is ready."""

    tokenizer: Any
    model: Any
    stops: list[int]
    """Tokens that end a reply."""
    constraint: Any
    """`Constraint`; None where replies are free."""


@register("chat-model", "transformers")
class TransformersModel:
    """Writes the replies of all calls in flight together; loaded with the first call: cached answers need no model."""

    uses = frozenset({"structured", "concurrency", "device", "dtype"})
    sends = False

    def __init__(self, name: str, settings: EndpointSettings, direct: bool) -> None:
        """See `OpenAIEndpoint` for the arguments."""
        self.name = name
        self.settings = settings
        self.doing = ""
        """What it is about, for a line of progress."""
        self._message: Callable[[str], None] = lambda text: None
        self._most = settings.concurrency
        self._ends = threading.Event()
        self._together = Gathering(self._replies, settings.concurrency, f"chat-{name}")
        self._loaded: Loaded | None = None

    @staticmethod
    def checkpoint(settings: EndpointSettings) -> str:
        """Hash of the checkpoint's files, with the type they are computed in where it is not their own."""
        from mmedpo.models.checkpoints import checkpoint_hash

        arithmetic = "" if settings.dtype == "auto" else f"+{settings.dtype}"
        return checkpoint_hash(settings.model) + arithmetic

    @staticmethod
    def ready(name: str, settings: EndpointSettings) -> None:
        """Raises ChatError where replies are to be held to a form and the library for it is missing."""
        if settings.structured != "none" and not installed():
            raise ChatError(
                f"endpoint {name!r} is to hold replies to a form, which needs llguidance: "
                "pip install 'mmedpo[local]', or set structured: none"
            )

    def listen(self, message: Callable[[str], None]) -> None:
        """Takes what shows the user a line."""
        self._message = message

    async def complete(self, request: ChatRequest) -> ChatReply:
        """A reply, written together with those of the other calls in flight.

        Raises:
            ChatError: not a causal language model, or without chat template; no memory for a single reply.
            CallFailed: the prompt does not fit the model's context.
        """
        return await self._together.ask(request)

    async def close(self) -> None:
        """Stops what is being written, ends the thread and lets the model go."""
        self._ends.set()
        await self._together.close()
        self._loaded = None

    def _replies(self, requests: Sequence[ChatRequest]) -> list[ChatReply | Exception]:
        """In the thread: one reply or failure per request."""
        loaded = self._load()
        prompts = [self._tokens(loaded.tokenizer, request) for request in requests]
        context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
        longest = context - self.settings.max_tokens if context is not None else max(map(len, prompts))
        found: dict[int, ChatReply] = {}
        fitting = [number for number, prompt in enumerate(prompts) if len(prompt) <= longest]
        while todo := [number for number in fitting if number not in found][: self._most]:
            try:
                written = self._write(loaded, [prompts[n] for n in todo], [requests[n] for n in todo])
            except Exception as error:
                self._take_fewer(len(todo), error)
                continue
            found.update(zip(todo, written, strict=True))
        self.doing = ""
        return [found.get(number, CallFailed("prompt too long for the model")) for number in range(len(requests))]

    def _take_fewer(self, tried: int, error: Exception) -> None:
        """Half as many replies together from now on, where memory ended; any other error is raised again."""
        import torch
        from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

        if not isinstance(error, torch.OutOfMemoryError) and not should_reduce_batch_size(error):
            raise error
        if tried == 1:
            raise ChatError(
                f"endpoint {self.name!r}: no memory for a single reply; lower max_tokens, or set dtype: bfloat16"
            ) from error
        self._most = tried // 2
        clear_device_cache(garbage_collection=True)
        self._message(f"endpoint {self.name!r}: out of memory with {tried} replies together: {self._most} from now on")

    def _load(self) -> Loaded:
        if self._loaded is None:
            from mmedpo.models.checkpoints import checkpoint_path
            from mmedpo.models.devices import device_of

            path, device, started = checkpoint_path(self.settings.model), device_of(self.settings.device), time.time()
            self.doing = "loading the model"
            self._message(f"endpoint {self.name!r}: loading {path} on {device}")
            self._loaded = self._read(path, device)
            model = self._loaded.model
            dtype = str(model.dtype).removeprefix("torch.")
            self._message(
                f"endpoint {self.name!r}: {model.num_parameters():,} weights in {dtype} "
                f"loaded in {duration(time.time() - started)}; {self._most} replies are written together at most"
            )
        return self._loaded

    def _read(self, path: Any, device: str) -> Loaded:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, padding_side="left")
            model: Any = AutoModelForCausalLM.from_pretrained(
                path, local_files_only=True, use_safetensors=True, dtype=self.settings.dtype, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            why = " ".join(str(error).split())
            raise ChatError(f"endpoint {self.name!r}: {path} is no causal language model ({why})") from error
        if not tokenizer.chat_template:
            raise ChatError(
                f"endpoint {self.name!r}: {path} has no chat template; save one with its tokenizer (chat_template)"
            )
        ends = model.generation_config.eos_token_id
        ends = tokenizer.eos_token_id if ends is None else ends
        stops = [int(end) for end in (ends if isinstance(ends, list) else [ends]) if end is not None]
        constraint = None
        if self.settings.structured != "none":
            from mmedpo.chat.constraint import Constraint

            self.ready(self.name, self.settings)
            constraint = Constraint(self.name, tokenizer, len(model.get_output_embeddings().weight), stops)
        return Loaded(tokenizer, model.to(device).eval(), stops, constraint)

    def _tokens(self, tokenizer: Any, request: ChatRequest) -> list[int]:
        """The conversation in the model's template; in the first user turn where it knows no system turn."""
        from jinja2 import TemplateError

        turns = [{"role": turn.role, "content": turn.text} for turn in request.messages]
        merged = turns
        if len(turns) > 1 and turns[0]["role"] == "system":
            merged = [{"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}, *turns[2:]]
        options = {"add_generation_prompt": True, "return_dict": True}
        try:
            return list(tokenizer.apply_chat_template(turns, **options)["input_ids"])
        except TemplateError:
            try:
                return list(tokenizer.apply_chat_template(merged, **options)["input_ids"])
            except TemplateError as error:
                raise ChatError(
                    f"endpoint {self.name!r}: the model's chat template refuses the turns ({error})"
                ) from None

    def _write(self, loaded: Loaded, prompts: Sequence[list[int]], requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """Replies to a batch; each is the one that its request would get alone."""
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        model, width, pad = loaded.model, max(map(len, prompts)), loaded.tokenizer.pad_token_id
        pad = pad if pad is not None else (loaded.stops or [0])[0]
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
        seen = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.inference_mode():
            output = model.generate(
                ids.to(model.device),
                attention_mask=seen.to(model.device),
                max_new_tokens=self.settings.max_tokens,
                pad_token_id=pad,
                eos_token_id=loaded.stops or None,
                logits_processor=LogitsProcessorList(self._steps(loaded, requests)),
                stopping_criteria=StoppingCriteriaList([self._stopped]),
                # Tokens are drawn in `_steps`, where a row has noise of its own.
                **{"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None},
            )
        rows = output[:, width:].tolist()
        return [self._reply(loaded, len(prompt), row) for prompt, row in zip(prompts, rows, strict=True)]

    def _steps(self, loaded: Loaded, requests: Sequence[ChatRequest]) -> list[Any]:
        """What becomes of the scores of a step: progress, the form, the draw."""
        from mmedpo.models.generation import Decoding, TokenChoice

        settings, limit, every = self.settings, self.settings.max_tokens, range(len(requests))
        step = 0

        def tell(ids: Any, scores: Any) -> Any:
            nonlocal step
            step += 1
            self.doing = f"{len(requests)} replies being written, token {step} of at most {limit}"
            return scores

        seeds = [request.sample if request.seed is None else request.seed for request in requests]
        choice = TokenChoice(Decoding(limit, settings.temperature, settings.top_p), seeds)
        steps: list[Any] = [tell]
        if loaded.constraint is not None:
            free = settings.structured == "json_object"
            schemas = [ANY_OBJECT if free else request.schema for request in requests]
            steps.append(loaded.constraint.masks(schemas, limit))
        return [*steps, lambda ids, scores: choice(every, scores)]

    def _stopped(self, ids: Any, scores: Any, **more: Any) -> Any:
        """Every row ends when the endpoint is closed."""
        import torch

        return torch.full((len(ids),), self._ends.is_set(), device=ids.device)

    def _reply(self, loaded: Loaded, length: int, row: list[int]) -> ChatReply:
        end = next((place for place, token in enumerate(row) if token in loaded.stops), None)
        # Marks of a thought may be special tokens; without them a thought would read like the answer.
        text = loaded.tokenizer.decode(row[:end], skip_special_tokens=False).strip()
        used = len(row) if end is None else end + 1
        return ChatReply(text, self.settings.model, "length" if end is None else "stop", Usage(length, used))
