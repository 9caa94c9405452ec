"""A real model server that someone else wrote, `transformers serve`, with tiny checkpoints made here.

A checkpoint's weights are set by hand, so that it answers every prompt with the same text: each piece of the text is a
token of its own, and the model is a table from the last token to the next one. Without a text the weights are random
and the answers gibberish. One server serves any number of checkpoints; the name of the model is its folder.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SCORE_ANSWER = '{"reason": "side", "score": 7}'
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
HIDDEN = 64


def make_checkpoint(folder: Path, text: str | None) -> None:
    """Writes a two-layer Llama with a byte-level tokenizer that answers `text` and ends; None: gibberish."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    spelled = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces = [spelled.pre_tokenize_str(piece)[0][0] for piece in re.findall(r"\S+\s*", text or "")]
    if len(set(pieces)) < len(pieces) or len(pieces) >= HIDDEN:
        raise ValueError(f"an answer needs fewer than {HIDDEN} words, all different; met {text!r}")
    names = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *pieces]
    # Without merges no prompt is ever encoded into the pieces; they only come out. A piece may be a byte.
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32768,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        if pieces:
            _answer_always(model, [vocabulary[piece] for piece in pieces])
    fast.save_pretrained(folder)
    model.save_pretrained(folder)


def _answer_always(model, pieces: list[int]) -> None:
    """Any token leads to the first piece, each piece to the next, the last one to the end of the sequence."""
    embedded, wanted = model.model.embed_tokens.weight, model.lm_head.weight
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    wanted.zero_()
    embedded.zero_()
    embedded[:, 0] = 1
    for place, token in enumerate(pieces, start=1):
        embedded[token, 0], embedded[token, place] = 0, 1
    for place, token in enumerate([*pieces, model.config.eos_token_id]):
        # The last norm makes it a logit of 50 * sqrt(64) = 400 against 0: certain, even when sampled.
        wanted[token, place] = 50


@dataclass(frozen=True)
class ModelServer:
    """A server that runs."""

    url: str
    """The base URL a client is given."""
    folder: Path
    """Where its checkpoints and `serve.log` are."""

    def model(self, text: str | None = SCORE_ANSWER) -> str:
        """The name of a model that always answers `text`, or gibberish for None; made when first asked for."""
        names = {path.name: path for path in self.folder.glob("model-*")}
        name = "model-gibberish" if text is None else f"model-{text.encode().hex()[:200]}"
        if name not in names:
            make_checkpoint(self.folder / name, text)
        return str(self.folder / name)


@contextmanager
def serving(folder: Path, start_within: float = 90.0) -> Iterator[ModelServer]:
    """Starts `transformers serve` on a free port of loopback and kills it and its children at the end.

    Raises RuntimeError with the end of its log when it does not answer within `start_within` seconds.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What the script `transformers` runs, in this very environment even where the script is not installed.
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", "--host", "127.0.0.1"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    log = folder / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu"],
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        _wait_until_healthy(process, f"http://127.0.0.1:{port}/health", start_within, log)
        yield ModelServer(f"http://127.0.0.1:{port}/v1", folder)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_healthy(process: subprocess.Popen, url: str, seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    how = "still starting" if process.poll() is None else f"ended with {process.returncode}"
    raise RuntimeError(
        f"`transformers serve` did not answer {url} within {seconds:g} s ({how}); its log ends:\n"
        + log.read_text(errors="replace")[-3000:]
    )
