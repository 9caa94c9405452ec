"""A checkpoint in this process: any causal language model with a chat template, from a local folder."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mmedpo.chat.model import CallFailed, ChatReply, ChatRequest, Usage
from mmedpo.config import EndpointSettings
from mmedpo.errors import ChatError
from mmedpo.registry import register


@register("chat-model", "transformers")
class TransformersModel:
    """Generates one reply at a time; loaded with the first call, so that cached answers need no model."""

    uses: frozenset[str] = frozenset()
    sends = False

    def __init__(self, name: str, settings: EndpointSettings, direct: bool) -> None:
        """See `OpenAIEndpoint` for the arguments."""
        self.name = name
        self.settings = settings
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"chat-{name}")
        self._loaded: tuple[Any, Any] | None = None

    @staticmethod
    def checkpoint(settings: EndpointSettings) -> str:
        """Hash of the checkpoint's files."""
        from mmedpo.models.checkpoints import checkpoint_hash

        return checkpoint_hash(settings.model)

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Generates a reply in a thread of its own, so that other endpoints go on meanwhile.

        Raises:
            ChatError: not a causal language model, or without chat template.
            CallFailed: the prompt does not fit the model's context.
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._generate, request)

    async def close(self) -> None:
        """Ends the thread and lets the model go."""
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._loaded = None

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer

            from mmedpo.models.checkpoints import checkpoint_path

            path = checkpoint_path(self.settings.model)
            try:
                tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
                model: Any = AutoModelForCausalLM.from_pretrained(
                    path, local_files_only=True, use_safetensors=True, dtype="auto", trust_remote_code=False
                )
            except (OSError, ValueError, KeyError) as error:
                why = " ".join(str(error).split())
                raise ChatError(f"endpoint {self.name!r}: {path} is no causal language model ({why})") from error
            if not tokenizer.chat_template:
                raise ChatError(
                    f"endpoint {self.name!r}: {path} has no chat template; save one with its tokenizer (chat_template)"
                )
            device = "cuda" if torch.cuda.is_available() else "cpu"
            self._loaded = tokenizer, model.to(device).eval()
        return self._loaded

    def _tokens(self, tokenizer: Any, request: ChatRequest) -> Any:
        """The conversation in the model's template; in the first user turn where it knows no system turn."""
        from jinja2 import TemplateError

        turns = [{"role": turn.role, "content": turn.text} for turn in request.messages]
        merged = turns
        if len(turns) > 1 and turns[0]["role"] == "system":
            merged = [{"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}, *turns[2:]]
        options = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True}
        try:
            return tokenizer.apply_chat_template(turns, **options)
        except TemplateError:
            try:
                return tokenizer.apply_chat_template(merged, **options)
            except TemplateError as error:
                raise ChatError(
                    f"endpoint {self.name!r}: the model's chat template refuses the turns ({error})"
                ) from None

    def _generate(self, request: ChatRequest) -> ChatReply:
        import torch

        tokenizer, model = self._load()
        inputs = self._tokens(tokenizer, request)
        length = inputs["input_ids"].shape[1]
        context = getattr(model.config, "max_position_embeddings", None)
        if context is not None and length + self.settings.max_tokens > context:
            raise CallFailed("prompt too long for the model")
        options: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if self.settings.temperature > 0:
            torch.manual_seed(request.sample)
            options = {"do_sample": True, "temperature": self.settings.temperature, "top_p": self.settings.top_p}
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        with torch.inference_mode():
            output = model.generate(
                **inputs.to(model.device), max_new_tokens=self.settings.max_tokens, pad_token_id=pad, **options
            )[0, length:]
        ends = model.generation_config.eos_token_id
        finished = int(output[-1]) in (ends if isinstance(ends, list) else [ends])
        # Marks of a thought may be special tokens; without them a thought would read like the answer.
        text = tokenizer.decode(output[:-1] if finished else output, skip_special_tokens=False).strip()
        return ChatReply(text, self.settings.model, "stop" if finished else "length", Usage(length, len(output)))
