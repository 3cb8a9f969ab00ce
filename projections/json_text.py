"""JSON texts in query tables: canonical ones, written fast."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from refold.domain.texts import canonical_json


def json_text(value: object) -> str:
    """Return the canonical JSON of `value`, as `canonical_json` does, in a fraction of its time."""
    if _is_exact((value,)):
        try:
            return _ENCODER.encode(value).decode()
        except (TypeError, UnicodeEncodeError):
            pass  # a key that is no text, or a lone surrogate
    return canonical_json(value)


def _is_exact(values: Iterable[Any]) -> bool:
    """Tell whether msgspec writes all of `values` as the standard library does: not floats."""
    for value in values:
        kind = type(value)
        if kind in _SCALARS:
            continue
        if kind is dict:
            if not _is_exact(value.values()):
                return False
        elif kind is not list or not _is_exact(value):
            return False
    return True


_SCALARS: Final = frozenset({str, int, bool, type(None)})
_ENCODER: Final = msgspec.json.Encoder(order="sorted")
