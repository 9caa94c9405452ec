"""A `tokenizer.model` of SentencePiece (BPE with bytes, as Llama's and Mistral's) as a fast tokenizer.

LLaVA-Med is published with no other file of its vocabulary, and `transformers` reads that one only with
two more libraries. What is needed of it is small: the pieces, in order, with their scores and kinds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmedpo.errors import ModelError

_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE, _BPE = 2, 3, 4, 6, 2
"""Kinds of pieces, and of models, by the numbers of sentencepiece_model.proto."""
SPACE = "\u2581"
"""What a space is written as."""


class Piece(NamedTuple):
    """One entry of the vocabulary."""

    text: str
    score: float
    kind: int


def read_pieces(file: Path) -> list[Piece]:
    """The vocabulary of a `tokenizer.model`, by id.

    Raises:
        ModelError: it is none, is cut off, or is of another kind than BPE.
    """
    try:
        fields = list(_fields(file.read_bytes()))
        pieces = [_piece(value) for number, value in fields if number == 1 and isinstance(value, bytes)]
        trainer = dict(_fields(next((bytes(v) for n, v in fields if n == 2 and isinstance(v, bytes)), b"")))
    except (IndexError, UnicodeDecodeError, struct.error, ValueError, TypeError):
        raise ModelError(f"{file} is damaged or no SentencePiece model; download it again") from None
    if not pieces:
        raise ModelError(f"{file} is damaged or no SentencePiece model; download it again")
    if trainer.get(3, 1) != _BPE:
        raise ModelError(f"{file} is not of the kind BPE; give --tokenizer FOLDER with a tokenizer.json")
    return pieces


def fast_tokenizer(pieces: list[Piece], *, opens: bool) -> Any:
    """A `tokenizers.Tokenizer` of a vocabulary, tokenising as the slow (legacy) Llama tokenizer does.

    A space is put before every text, also before what stands behind a special token.

    Args:
        pieces: the vocabulary.
        opens: texts begin with `<s>`.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    vocabulary = {piece.text: number for number, piece in enumerate(pieces)}
    unknown = next((piece.text for piece in pieces if piece.kind == _UNKNOWN), None)
    plain = [piece.text for piece in pieces if piece.kind not in (_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE)]
    fast: Any = Tokenizer(
        models.BPE(vocabulary, _merges(pieces, plain), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    fast.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    fast.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fast.add_special_tokens(
        [AddedToken(p.text, special=True, normalized=False) for p in pieces if p.kind in (_UNKNOWN, _CONTROL)]
    )
    fast.add_tokens([AddedToken(p.text, normalized=False) for p in pieces if p.kind == _USER_DEFINED])
    if opens and "<s>" in vocabulary:
        fast.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", vocabulary["<s>"])]
        )
    return fast


def _merges(pieces: list[Piece], plain: list[str]) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, best pieces first: SentencePiece joins the best-scored pair."""
    rank = {piece.text: (-piece.score, number) for number, piece in enumerate(pieces)}
    known = set(plain)
    found = [
        (rank[text], (rank[text[:cut]][1], rank[text[cut:]][1]), (text[:cut], text[cut:]))
        for text in plain
        for cut in range(1, len(text))
        if text[:cut] in known and text[cut:] in known
    ]
    return [pair for _, _, pair in sorted(found)]


def _piece(content: bytes) -> Piece:
    fields = dict(_fields(content))
    text, score = fields.get(1, b""), fields.get(2, b"\0\0\0\0")
    kind = fields.get(3, 1)
    if not isinstance(text, bytes) or not isinstance(score, bytes) or not isinstance(kind, int):
        raise ValueError
    return Piece(text.decode(), float(struct.unpack("<f", score)[0]), kind)


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a protocol-buffer message, one level deep."""
    at = 0
    while at < len(content):
        key, at = _number(content, at)
        wire = key & 7
        if wire == 0:
            value, at = _number(content, at)
            yield key >> 3, value
            continue
        if wire == 2:
            length, at = _number(content, at)
        else:
            length = {1: 8, 5: 4}[wire] if wire in (1, 5) else -1
        if length < 0 or at + length > len(content):
            raise ValueError
        yield key >> 3, content[at : at + length]
        at += length


def _number(content: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
