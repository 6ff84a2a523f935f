"""What the API answers to an export.

Owns: the response model of a page.
"""

from typing import Self

from pydantic import JsonValue

from scheduler.api.response import Response
from scheduler.core.export import FORMAT
from scheduler.exports import ExportPage


class ExportedPage(Response):
    """Some rows of a table of a run."""

    format: int
    """Of the tables: a column keeps its name and meaning as long as this number stays."""
    rows: list[dict[str, JsonValue]]
    """With the columns that docs/export.md lists."""
    after: str | None
    """What to ask for the next page with; None after the last."""

    @classmethod
    def of(cls, page: ExportPage) -> Self:
        """The page."""
        return cls.model_validate({"format": FORMAT, "rows": page.rows, "after": page.after})
