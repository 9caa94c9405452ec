"""The vocabulary of a converted checkpoint: the source's own, with a token for the image and the authors' prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from mmedpo.errors import ModelError, brief, shown
from mmedpo.models.convert.layouts import IMAGE, Layout
from mmedpo.models.convert.sentencepiece import fast_tokenizer, read_pieces
from mmedpo.models.families.llava import Llava
from mmedpo.models.family import Loaded

QUESTIONS = (
    "Is there effusion?",
    "which plane is the image shown in",
    "  What is 3.5 cm wide,\nand where?  ",
    "Gibt es Flüssigkeit im Pleuraspalt? 有肺炎吗？",
    "x",
)
"""Sample questions on which the prompts of both sides must be the same ids."""
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


class Words(NamedTuple):
    """A tokenizer ready to be saved."""

    tokenizer: Any
    image_id: int
    """Id of the placeholder."""
    rows: int
    """Rows the embeddings must have."""
    how: str
    """Where the placeholder's id comes from, one sentence."""
    checked: int
    """Prompts whose ids were compared with the authors'."""


def build_words(folder: Path, layout: Layout, rows: int) -> Words:
    """The tokenizer of a source folder, with a placeholder and the authors' prompt as chat template.

    Args:
        folder: holds tokenizer.json or tokenizer.model, and what names the special tokens.
        layout: of the checkpoint.
        rows: of its embeddings.

    Raises:
        ModelError: a file is missing, or prompts would not have the authors' ids.
    """
    from tokenizers import AddedToken, Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    named = _named(folder)
    source = _read(folder, named)
    lacking = [mark for mark in layout.marks if source.token_to_id(mark) is None]
    if lacking:
        raise ModelError(
            f"the tokenizer has no {lacking[0]!r}, so this is not {layout.title}, whose prompt would be given to it; "
            "only that model is converted from this layout"
        )
    if not layout.specials:
        source.post_processor = processors.Sequence([])
    bare, how = _with_placeholder(source, rows)
    if how is None:
        bare = Tokenizer.from_str(source.to_str())
        bare.add_special_tokens([AddedToken(IMAGE, special=True, normalized=False)])
        how = f"{IMAGE} is a row beyond the vocabulary, id {bare.token_to_id(IMAGE)}"
    image_id = int(bare.token_to_id(IMAGE))
    if image_id >= rows:
        how = f"{IMAGE} got a new row of zeros, id {image_id}: its logit of 0 joins the softmax"
    tokens = {key: token for key in _NAMED if (token := named.get(key)) and bare.token_to_id(token) is not None}
    if "eos_token" not in tokens:
        raise ModelError(f"{folder} names no eos_token; copy tokenizer_config.json from the published checkpoint")
    # Where the token for padding gave its place to the placeholder, or there was none.
    tokens.setdefault("pad_token", tokens["eos_token"])
    bos = named.get("bos_token")
    doubled = bool(bos) and layout.specials and _opens(source) and layout.opening.startswith(str(bos))
    kind: Any = PreTrainedTokenizerFast
    tokenizer = kind(
        tokenizer_object=bare,
        chat_template=layout.template(doubled),
        clean_up_tokenization_spaces=False,
        additional_special_tokens=[IMAGE],
        **tokens,
    )
    checked = _check(source, tokenizer, layout, image_id, bos)
    return Words(tokenizer, image_id, max(rows, image_id + 1), how, checked)


def authors_ids(source: Any, prompt: str, image_id: int, bos: int | None, *, specials: bool) -> list[int]:
    """Token ids as the LLaVA code base makes them: the text cut at the placeholders, each piece by itself.

    What opens a text stands before each piece; it is kept before the first.
    """
    chunks = [source.encode(chunk, add_special_tokens=specials).ids for chunk in prompt.split(IMAGE)]
    offset = int(bool(chunks[0]) and chunks[0][0] == bos)
    ids = list(chunks[0][:offset])
    for number, chunk in enumerate(chunks):
        ids += [*([image_id] if number else []), *chunk[offset:]]
    return ids


def _check(source: Any, tokenizer: Any, layout: Layout, image_id: int, bos: str | None) -> int:
    """Compares prompts with the authors' on the sample questions; returns how many."""
    ours = Llava(Loaded(SimpleNamespace(config=None), tokenizer, None), layout.title)
    first = source.token_to_id(bos) if bos else None
    cases = [(question, images) for question in QUESTIONS for images in (1, 2)]
    for question, images in cases:
        theirs = authors_ids(source, layout.prompt(question, images), image_id, first, specials=layout.specials)
        got = ours.tokenize(ours.render(question, images))
        if got != theirs:
            pairs = enumerate(zip(got, theirs, strict=False))
            at = next((place for place, (a, b) in pairs if a != b), min(len(got), len(theirs)))
            raise ModelError(
                f"prompt ids of {shown(question)} differ from the authors' at place {at} ({got[at : at + 3]}, theirs "
                f"{theirs[at : at + 3]}); give --tokenizer FOLDER with the tokenizer the model was trained with"
            )
    return len(cases)


def _read(folder: Path, named: Mapping[str, str]) -> Any:
    """The tokenizer of a folder, without a placeholder of our own."""
    from tokenizers import Tokenizer

    if (folder / "tokenizer.json").is_file():
        try:
            return _legacy(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
        except Exception as error:  # the library raises bare Exceptions
            raise ModelError(
                f"{folder / 'tokenizer.json'} is damaged ({brief(str(error))}); download it again"
            ) from None
    if (folder / "tokenizer.model").is_file():
        bare = fast_tokenizer(read_pieces(folder / "tokenizer.model"), opens=named.get("add_bos_token") != "False")
        return Tokenizer.from_str(bare.to_str())
    raise ModelError(
        f"{folder} holds no tokenizer.json and no tokenizer.model; copy it there, or give --tokenizer FOLDER"
    )


def _legacy(content: dict[str, Any]) -> Any:
    """The tokenizer of a tokenizer.json, with a space before every piece of a text and not only before the first.

    The authors' code tokenises the pieces around an image one by one, so each of them begins a text.
    """
    from tokenizers import Tokenizer

    before = content.get("pre_tokenizer") or {}
    for step in before.get("pretokenizers", [before]):
        if step.get("type") == "Metaspace" and step.get("prepend_scheme") == "first":
            step["prepend_scheme"] = "always"
    return Tokenizer.from_str(json.dumps(content))


def _named(folder: Path) -> dict[str, str]:
    """Special tokens by role, as the files beside a vocabulary name them."""
    found: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        try:
            content = json.loads((folder / file).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except ValueError:
            raise ModelError(f"{folder / file} is no JSON; download it again") from None
        for key in (*_NAMED, "add_bos_token"):
            value = content.get(key) if isinstance(content, dict) else None
            value = value.get("content") if isinstance(value, dict) else value
            if value is not None:
                found[key] = str(value)
    if (folder / "tokenizer.model").is_file():
        found = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **found}
    return found


def _opens(source: Any) -> bool:
    """Whether the tokenizer puts a token before every text."""
    return bool(source.encode("x").ids != source.encode("x", add_special_tokens=False).ids)


def _with_placeholder(source: Any, rows: int) -> tuple[Any, str | None]:
    """The tokenizer with a placeholder among the ids that no text produces; None: it has no such id.

    A new row would join the softmax, whatever it holds.
    """
    from tokenizers import Tokenizer

    content = json.loads(source.to_str())
    own = source.token_to_id(IMAGE)
    if own is not None:
        return source, f"{IMAGE} is id {own} of the checkpoint's own tokenizer"
    if source.get_vocab_size() < rows:
        return source, None
    reserved = [t["content"] for t in content["added_tokens"] if re.search(r"reserved|unused", t["content"])]
    unknown = content["model"].get("unk_token")
    vocabulary = content["model"].get("vocab", {})
    if reserved:
        old, why = reserved[0], "a reserved token"
    elif unknown and content["model"].get("byte_fallback") and all(byte in vocabulary for byte in _BYTES):
        old, why = unknown, "the unknown token, which no text produces: there is a token for every byte"
    else:
        return source, None
    _rename(content, old)
    return Tokenizer.from_str(
        json.dumps(content)
    ), f"{IMAGE} takes the place of {old}, id {source.token_to_id(old)}: {why}"


def _rename(content: dict[str, Any], old: str) -> None:
    """Gives a token of a tokenizer.json the placeholder's name, in place."""
    model = content["model"]
    if old in model["vocab"]:
        model["vocab"] = {IMAGE if text == old else text: number for text, number in model["vocab"].items()}
    if model.get("unk_token") == old:
        model["unk_token"] = IMAGE
    for token in content["added_tokens"]:
        if token["content"] == old:
            token.update(content=IMAGE, special=True, normalized=False)
