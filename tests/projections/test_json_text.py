"""The fast way to canonical JSON gives the text of the exact one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain.texts import canonical_json
from refold.projections.json_text import json_text

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=[]))
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=[])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(DOCUMENTS)
def test_both_ways_give_one_text(document: object) -> None:
    assert json_text(document) == canonical_json(document)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": [1.0, 1e21, -0.0, 1e-7], "a": 1}, '{"a":1,"b":[1.0,1e+21,-0.0,1e-07]}'),
        ({"x": {"deep": [{"y": 1e16}]}}, '{"x":{"deep":[{"y":1e+16}]}}'),
        (["\ud800", "é\u2028\x7f\0"], '["\\ud800","é\u2028\x7f\\u0000"]'),
        ([2**64, -(2**63) - 1], "[18446744073709551616,-9223372036854775809]"),
        ((1, {"a": ()}), '[1,{"a":[]}]'),
        ({}, "{}"),
    ],
)
def test_odd_values_look_as_the_log_writes_them(value: object, text: str) -> None:
    assert json_text(value) == text
