"""Looks up what a term means, in any spelling, in ``lesionedge.vocabulary``."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

LONGEST = 300
"""A longer label is not the name of a class; its meaning is unknown."""

_OPEN = ("ind", "unk")  # classes that leave open what a lesion is
_ROOTS = ("benign", "malignant", "normal")  # classes that only say whether it is malignant
_WIDE = (*_ROOTS, "inf")  # classes of many kinds, of which "other" names the rest
_MOST_WORDS = 16  # the longest term
_MEASURES = {"mm", "cm", "level", "stage", "grade"}  # words that go with a number


class Meaning(NamedTuple):
    """The meaning of a term."""

    code: str | None
    """The class; None if the term names several classes without a common one."""
    malignant: bool | None
    """Whether such a lesion is malignant; None if the term does not decide it."""
    whole: bool
    """Whether the term names the class itself, not a kind within it."""
    name: str | None = None
    """The class's name for a code; None if the term itself is the better name."""


class _Class(NamedTuple):
    """A row of ``vocabulary.CLASSES``."""

    name: str
    malignant: bool | None
    broader: tuple[str, ...]


class _Term(NamedTuple):
    """The vocabulary's entry for a term."""

    code: str
    whole: bool
    short: bool = False
    """Whether it is a code or abbreviation, for which people see the class's name."""
    alone: bool = False
    """Whether it counts only if it is the whole label."""


class _Tables(NamedTuple):
    """The vocabulary, ready for look-ups by key."""

    classes: Mapping[str, _Class]
    terms: Mapping[str, _Term]
    generic: frozenset[str]
    neutral: frozenset[str]


@functools.lru_cache(maxsize=4096)
def meaning(label: str) -> Meaning | None:
    """Return what a label means; None if it is unknown.

    Args:
        label: A code, a name, both, a list of them, or a path in the ISIC archive's tree
            (``Benign:Cysts:Milium``), with or without a number in front.
    """
    bare = without_number(label.strip())
    if not bare or len(bare) > LONGEST:
        return None
    found = _of_words(words(bare))
    if found is None and bare.count(",") == 1:  # "keratosis, seborrheic"
        last, first = bare.split(",")
        found = _of_words(words(f"{first} {last}"))
    if found is None and (named := _without_count(bare)) != bare:
        found = _of_words(words(named))
    if found is None and ":" in bare:
        return _of_path([part for part in bare.split(":") if part.strip()])
    return found


def broader(code: str) -> tuple[str, ...]:
    """Return the codes of the classes that a class's lesions belong to, narrowest first."""
    return _tables().classes[code].broader


def key(label: str) -> str:
    """Return the key that all spellings of a label share: ``Basal Cells``, ``basal_cell``."""
    return _joined(words(without_number(label.strip())))


def without_number(label: str) -> str:
    """Remove the number before a label, as in ``0 mel``, ``1: nv`` and ``[2] bcc``."""
    found = re.match(
        r"(?:class[\s_-]*)?[\[(#]?[0-9]{1,6}(?:[\])]?[\s:.,;=|_)\]–-]+)(?=\D)", label, re.IGNORECASE
    )
    return label[found.end() :] if found else label


def _without_count(label: str) -> str:
    """Remove the number of images behind a folder's name: ``Eczema 1677``, ``Melanoma 15.75k``.

    Fewer digits may say something else, such as "no" in ``melanoma 0``.
    """
    return re.sub(r"(?i)[\s_-]+(?:[0-9]{4,6}|[0-9]{1,3}(?:\.[0-9]+)?k)\s*$", "", label)


def words(text: str) -> list[str]:
    """Split a label into plain words: lower case, singular, American spelling, no accents."""
    import unicodedata

    text = text.replace("æ", "ae").replace("Æ", "ae").replace("œ", "oe").replace("Œ", "oe")
    text = re.sub(r"[-−–]\s*$|\([-−–]\)", " negative ", text)  # as laboratories write it
    text = re.sub(r"[!≠¬~]", " not ", text.replace("?", " possible "))
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)  # BasalCellCarcinoma
    text = unicodedata.normalize("NFKD", text).casefold()
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"['’`´](s\b)?", "", text)
    return [_plain(word) for word in re.findall(r"[^\W\d_]+|[0-9]+(?:\.[0-9]+)?", text)]


_SPELLINGS = (
    ("naev", "nev"), ("haem", "hem"), ("rrhoe", "rrhe"), ("rrhoi", "rrhei"), ("tumour", "tumor"),
    ("oedem", "edem"),
)  # fmt: skip
_ENDINGS = (
    ("nevi", "nevus"), ("nevuses", "nevus"), ("oses", "osis"), ("metastases", "metastasis"),
    ("lentigines", "lentigo"), ("lentigos", "lentigo"), ("omata", "oma"), ("omae", "oma"),
    ("verrucae", "verruca"),
    ("ephelides", "ephelis"), ("comedones", "comedo"), ("milia", "milium"), ("ies", "y"),
    ("ches", "ch"), ("xes", "x"),
)  # fmt: skip


@functools.cache
def _plain(word: str) -> str:
    for british, american in _SPELLINGS:
        word = word.replace(british, american)
    for plural, singular in _ENDINGS:
        if word.endswith(plural):
            return word[: -len(plural)] + singular
    several = len(word) > 3 and word.endswith("s") and word[-2] not in "sui"
    return word[:-1] if several else word


def _joined(parts: Iterable[str]) -> str:
    return "".join(parts)


@functools.cache
def _tables() -> _Tables:
    from lesionedge import vocabulary

    classes = dict(map(_class, vocabulary.CLASSES.strip().splitlines()))
    terms = {_joined(words(code)): _Term(code, whole=True, short=True) for code in classes}
    for line in vocabulary.ABBREVIATIONS.strip().splitlines():
        code, _, listed = line.partition(":")
        for whole, part in zip((True, False), listed.split("|")):
            for word in part.split():
                terms[_joined(words(word))] = _Term(code, whole, short=whole)
    for block in vocabulary.TERMS.strip().split("\n\n"):
        code, _, listed = block.partition("\n")
        for whole, part in zip((True, False), listed.split("|")):
            for term in part.split(";"):
                alone = term.lstrip().startswith("=")
                # The terms are plain already except for plurals, which makes this fast.
                joined = _joined(map(_plain, term.replace("=", "").split()))
                terms.setdefault(joined, _Term(code, whole, alone=alone))
    generic = frozenset(words(vocabulary.GENERIC))
    return _Tables(classes, terms, generic, generic | frozenset(words(vocabulary.QUALIFIERS)))


def _class(line: str) -> tuple[str, _Class]:
    facts, _, codes = line.partition("|")
    code, sign, name = facts.split(None, 2)
    malignant = {"+": True, "-": False}.get(sign)
    return code, _Class(name.strip(), malignant, tuple(codes.split()))


def _of_path(path: Sequence[str]) -> Meaning | None:
    """Return what a path in the archive's tree means: its last term, if the first agrees."""
    root, leaf = _of_words(words(path[0])), _of_words(words(path[-1]))
    if root is None or root.code not in (*_ROOTS, *_OPEN):
        return None
    if leaf is None or leaf.malignant is None:
        return root._replace(whole=False, name=None)
    return None if {root.malignant, leaf.malignant} == {True, False} else leaf


def _of_words(phrase: Sequence[str]) -> Meaning | None:
    tables = _tables()
    term = tables.terms.get(_joined(phrase))
    if term is not None:
        kind = tables.classes[term.code]
        return Meaning(term.code, kind.malignant, term.whole, kind.name if term.short else None)
    parts = _parts(phrase)
    common = _together(parts, more="other" in phrase) if parts else None
    if common is None:
        return None
    narrowed = any(word in tables.neutral and word not in tables.generic for word in phrase)
    return common._replace(whole=common.whole and not narrowed)


def _parts(phrase: Sequence[str]) -> list[_Term] | None:
    """Return the classes that a phrase names; None if one of its words is unknown.

    So ``nevus, not melanoma`` and ``suspicious nevus`` stay unknown.
    """
    found: list[_Term] = []
    at = 0
    while at < len(phrase):
        for end in range(min(len(phrase), at + _MOST_WORDS), at, -1):
            term = _part(phrase[at:end])
            if term is not None:
                found.append(term)
                at = end
                break
        else:
            if not _says_nothing(phrase, at):
                return None
            at += 1
    return found


def _part(phrase: Sequence[str]) -> _Term | None:
    tables, joined = _tables(), _joined(phrase)
    if joined in tables.neutral or (len(phrase) > 1 and len(joined) < 5):  # "a k" is not "ak"
        return None
    term = tables.terms.get(joined)
    return None if term is None or term.alone or term.code in _OPEN else term


def _says_nothing(phrase: Sequence[str], at: int) -> bool:
    """Return whether a word does not change what the other words mean."""
    word = phrase[at]
    if word[0].isdigit():  # "melanoma 0" may mean "no melanoma"
        return not _MEASURES.isdisjoint(phrase)
    if word == "other":  # only if the others are named: "other benign tumors"
        parts = [_part((later,)) for later in phrase[at + 1 :]]
        return any(part is not None and part.code in _WIDE for part in parts)
    return word in _tables().neutral


def _together(terms: Sequence[_Term], *, more: bool) -> Meaning | None:
    """Return what several terms in one label have in common; None if they disagree.

    Args:
        terms: Those terms.
        more: Whether the label also includes unnamed others, as in ``other benign tumors``.
    """
    kinds = _tables().classes
    verdicts = {kinds[term.code].malignant for term in terms}
    if len(verdicts) != 1:
        return None
    narrow = [term for term in terms if more or term.code not in _ROOTS] or list(terms)
    chains = [(term.code, *kinds[term.code].broader) for term in narrow]
    common = next((code for code in chains[0] if all(code in chain for chain in chains)), None)
    alike = [term for term in narrow if term.code == common]
    return Meaning(common, verdicts.pop(), not alike or any(term.whole for term in alike))
