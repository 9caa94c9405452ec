"""A preference file as a table: typed turns, images on both sides, score and weight apart."""

from __future__ import annotations

from typing import Literal

from mmedpo.records.core import IMAGE_PLACE, Record, question_text


class Part(Record):
    """One piece of a message: a text, or the place where an image stands."""

    type: Literal["image", "text"]
    """An `image` part takes the next image of its side."""
    text: str | None = None
    """The text, verbatim; None for an image."""


class Message(Record):
    """One turn of a conversation, in the typed layout that TRL and `datasets` read."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: tuple[Part, ...]
    """Its pieces in order."""

    @property
    def text(self) -> str:
        """Every text of the message, joined; image parts say nothing."""
        return "".join(part.text or "" for part in self.content)

    @property
    def images(self) -> int:
        """How many image parts it holds."""
        return sum(part.type == "image" for part in self.content)


class PreferenceRow(Record):
    """One row of the canonical preference table: what every preference format is read into and written from.

    Nothing is cleaned here: a row holds what its file holds, so that a linter can see it. What a run
    trains on is a `PreferencePair`.
    """

    row_id: str
    """Unique in the table; letters, digits, dot, dash, underscore."""
    pair_type: Literal["text", "visual", "both"]
    """`text`: two answers, one image. `visual`: one answer, two images. `both`: two answers, two images."""
    prompt: tuple[Message, ...]
    """Turns before the answer; the last one is the user's."""
    chosen: tuple[Message, ...]
    """The preferred answer."""
    rejected: tuple[Message, ...]
    """The dispreferred answer."""
    images: tuple[str, ...] = ()
    """Images of the chosen side, relative to the image folder, forward slashes; not yet trusted."""
    rejected_images: tuple[str, ...] = ()
    """Images of the rejected side; empty when they are those of the chosen side."""
    image_hashes: tuple[str, ...] = ()
    """SHA-256 of the files of `images`, where they were looked at; otherwise empty."""
    rejected_image_hashes: tuple[str, ...] = ()
    """SHA-256 of the files of `rejected_images`, where they were looked at; otherwise empty."""
    score: float | None = None
    """Raw clinical relevance in [0, 1]; None when there is none."""
    unscored_reason: str = ""
    """Why there is no score; empty when there is one."""
    weight: float | None = None
    """Weight in the loss, where the file gives one apart from the score."""
    example_id: str = ""
    """The question it was made from, where it could be joined to a dataset; otherwise empty."""
    dataset: str = ""
    """Registered name of that dataset."""
    split: str = ""
    """The split of that question."""
    origin: str = ""
    """Where the rejected side comes from: `picked`, `injected`, a grounder's name; empty when unknown."""
    source: str = ""
    """`<format>:<file name>` it was imported from."""
    source_row: int = 0
    """Position in that file, counted from 0."""
    extra: str = ""
    """Columns of the source that have no place here, as a JSON object; empty when there are none."""

    @property
    def held_out(self) -> bool:
        """True when the row's own file says it is not for training.

        Of a row that was joined to a question, the split is its dataset's, which a run may draw anew.
        """
        return self.split not in ("", "train") and not self.example_id

    @property
    def question(self) -> str:
        """Text of the last user turn, stripped; with the places of its images where several stand between the words."""
        asked = next((turn for turn in reversed(self.prompt) if turn.role == "user"), None)
        if asked is None:
            return ""
        placed = "".join(IMAGE_PLACE if part.type == "image" else part.text or "" for part in asked.content)
        return question_text(placed, asked.images)

    @property
    def chosen_text(self) -> str:
        """The preferred answer as text, verbatim."""
        return "".join(turn.text for turn in self.chosen)

    @property
    def rejected_text(self) -> str:
        """The dispreferred answer as text, verbatim."""
        return "".join(turn.text for turn in self.rejected)
