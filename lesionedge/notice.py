"""What the reader of a prediction should know: a code for programs, a text for people."""

from __future__ import annotations

MALIGNANT_UNKNOWN = "malignant-unknown"
"""Code of the notice that it is not known which of a model's classes are malignant."""


class Notice(str):
    """A remark on an image: its text, as any string, with a code that does not change.

    A string, so that ``print``, ``json.dumps`` and whoever took the warnings for plain text
    before go on working.
    """

    __slots__ = ("code",)

    code: str
    """What programs go by, such as ``blurred``."""

    def __new__(cls, code: str, text: str) -> Notice:
        """Make one.

        Args:
            code: Lower case, words joined by hyphens.
            text: What people read.
        """
        notice = super().__new__(cls, text)
        notice.code = code
        return notice

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        """Pickle with the code, as predictions of worker processes are."""
        return self.code, str(self)
