"""The canonical preference table as a format: Parquet with one column per field of `PreferenceRow`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import ValidationError

from mmedpo.preferences.layout import BadRow, KeepImage
from mmedpo.records import PreferenceRow
from mmedpo.registry import register


@register("preference-format", "mmedpo")
class MmedpoTable:
    """Holds everything; read and written without loss."""

    name: ClassVar[str] = "mmedpo"
    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".jsonl")
    unread: ClassVar[tuple[str, ...]] = ()
    pair_types: ClassVar[tuple[str, ...]] = ("text", "visual", "both")
    most_images: ClassVar[int | None] = None
    embeds: ClassVar[bool] = False

    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """`row_id` and `pair_type` are columns of no other format."""
        return "row_id" in raw and "pair_type" in raw

    def parse(self, raw: Mapping[str, Any], keep_image: KeepImage) -> PreferenceRow:
        """Reads one row."""
        try:
            row = PreferenceRow.model_validate(raw)
        except (ValidationError, RecursionError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "too deep"}
            where = ".".join(str(part) for part in first["loc"])
            raise BadRow("malformed-row", f"{where}: {first['msg']}") from None
        if not row.prompt or not row.chosen or not row.rejected:
            raise BadRow("malformed-row", "prompt, chosen and rejected must hold at least one turn each")
        return row

    def render(self, row: PreferenceRow) -> dict[str, Any]:
        """Writes one row."""
        return row.model_dump(mode="json")
