"""Checks of what rows point to: images, noised areas, tokens, and the questions a model will be tested on."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence

from mmedpo.imaging.perceptual import near_pairs
from mmedpo.lint.findings import Finding, Severity
from mmedpo.records import Example, ImageRef, PreferenceRow


class UnreadableImages:
    """Rows whose images cannot be read.

    Args:
        of: rows of the table.
        failures: image path to what is wrong with it.
        readable: images that were read, by their paths.
    """

    def __init__(self, of: int, failures: Mapping[str, str], readable: Mapping[str, ImageRef]) -> None:
        self._of, self._failures, self._readable = of, failures, readable
        self._failing, self._first = array("q"), ""

    def see(self, row: PreferenceRow) -> None:
        """See `Check`."""
        bad = [name for name in (*row.images, *row.rejected_images) if name not in self._readable]
        if bad:
            self._failing.append(row.source_row)
            self._first = self._first or self._failures.get(bad[0], f"{bad[0]} was not read")

    def findings(self) -> Iterator[Finding]:
        """See `Check`."""
        if self._failing:
            yield Finding(
                check="unreadable-image",
                severity="error",
                count=len(self._failing),
                of=self._of,
                rows=tuple(self._failing),
                message=f"{len(self._failing)} rows name images that cannot be read; the first: {self._first}",
                action="drop",
            )


class NoisedShares:
    """Rejected images that hardly differ from the clean ones, or nearly everywhere.

    Args:
        shares: row id to share of changed pixels.
        smallest: below is nearly nothing.
        largest: above is nearly everything.
    """

    def __init__(self, shares: Mapping[str, float], smallest: float, largest: float) -> None:
        self._shares, self._smallest, self._largest = shares, smallest, largest
        self._known, self._little, self._much = 0, array("q"), array("q")

    def see(self, row: PreferenceRow) -> None:
        """See `Check`."""
        share = self._shares.get(row.row_id)
        if share is None:
            return
        self._known += 1
        if share < self._smallest:
            self._little.append(row.source_row)
        if share > self._largest:
            self._much.append(row.source_row)

    def findings(self) -> Iterator[Finding]:
        """See `Check`."""
        for name, what, failing in (
            ("noised-nearly-nothing", f"less than {self._smallest:.1%}", self._little),
            ("noised-nearly-everything", f"more than {self._largest:.0%}", self._much),
        ):
            if failing:
                yield Finding(
                    check=name,
                    severity="warning",
                    count=len(failing),
                    of=self._known,
                    rows=tuple(failing),
                    message=f"{len(failing)} rejected images differ in {what} of the pixels from the clean one",
                )


class Lengths:
    """Rows that would be cut under the given tokenizer.

    Args:
        of: rows of the table.
        tokens: row id to tokens of the longer side, image tokens included.
        most: tokens that fit.
    """

    def __init__(self, of: int, tokens: Mapping[str, int], most: int) -> None:
        self._of, self._tokens, self._most = of, tokens, most
        self._failing = array("q")

    def see(self, row: PreferenceRow) -> None:
        """See `Check`."""
        if self._tokens.get(row.row_id, 0) > self._most:
            self._failing.append(row.source_row)

    def findings(self) -> Iterator[Finding]:
        """See `Check`."""
        if self._failing:
            yield Finding(
                check="truncated",
                severity="error",
                count=len(self._failing),
                of=self._of,
                rows=tuple(self._failing),
                message=f"{len(self._failing)} rows have more than {self._most} tokens and would be cut",
                action="drop",
                numbers={"longest": float(max(self._tokens.values()))},
            )


class Leaks:
    """Rows on an image, or of a patient, that a model will be tested on.

    Args:
        of: rows of the table.
        images: image path to reference, for the rows' images.
        held_out: examples that are not trained on.
    """

    def __init__(self, of: int, images: Mapping[str, ImageRef], held_out: Sequence[Example]) -> None:
        self._of = of
        tested = {image.sha256: image for example in held_out for image in example.images}
        self._same = {name for name, image in images.items() if image.sha256 in tested}
        names = [name for name in images if name not in self._same]
        looks = [image.perceptual for image in tested.values()]
        self._near = {names[i] for i, _ in near_pairs([images[n].perceptual for n in names], looks)}
        self._asked = {example.example_id for example in held_out}
        self._of_image, self._of_look, self._of_question = array("q"), array("q"), array("q")

    def see(self, row: PreferenceRow) -> None:
        """See `Check`."""
        shown = {*row.images, *row.rejected_images}
        if self._same & shown:
            self._of_image.append(row.source_row)
        if self._near & shown:
            self._of_look.append(row.source_row)
        if row.example_id in self._asked:
            self._of_question.append(row.source_row)

    def findings(self) -> Iterator[Finding]:
        """See `Check`."""
        same, near = "the very file of a test image", "the same picture as a test image, under other bytes"
        yield from self._found("test-image", self._of_image, f"show {same}", "error")
        yield from self._found("test-image-lookalike", self._of_look, f"show {near}", "error")
        yield from self._found(
            "test-question", self._of_question, "were made from questions of a held-out split", "error"
        )

    def _found(self, check: str, failing: Sequence[int], what: str, severity: Severity) -> Iterator[Finding]:
        if failing:
            yield Finding(
                check=check,
                severity=severity,
                count=len(failing),
                of=self._of,
                rows=tuple(failing),
                message=f"{len(failing)} rows {what}",
                action="drop",
            )
