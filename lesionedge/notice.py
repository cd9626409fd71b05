"""Warnings about an image: a code for programs and a text for people."""

from __future__ import annotations

MALIGNANT_UNKNOWN = "malignant-unknown"
"""Code of the warning that it is unknown which of a model's classes are malignant."""


class Notice(str):
    """A warning about an image: a string with a stable ``code``.

    It is a string so that ``print``, ``json.dumps`` and code that expects plain text work.
    """

    __slots__ = ("code",)

    code: str
    """A stable code for programs, such as ``blurred``."""

    def __new__(cls, code: str, text: str) -> Notice:
        """Create a notice.

        Args:
            code: Lower case, words joined by hyphens.
            text: The text for people.
        """
        notice = super().__new__(cls, text)
        notice.code = code
        return notice

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        """Keep the code when the notice is pickled, as between processes."""
        return self.code, str(self)
