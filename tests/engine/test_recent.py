"""What was used last stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2_engine.recent import Recent


@pytest.mark.property
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9), st.booleans()), max_size=40),
    st.integers(0, 20),
    st.one_of(st.none(), st.integers(0, 4)),
    st.booleans(),
)
def test_it_holds_what_was_used_last_and_no_more_than_it_may(uses, max_bytes, max_entries, keeps_newest):
    recent = Recent(max_bytes, int, max_entries=max_entries, keeps_newest=keeps_newest)
    model: dict[str, int] = {}
    for key, size, is_put in uses:
        if is_put:
            assert recent.put(key, size) == size
            model.pop(key, None)
            model[key] = size
            least = 1 if keeps_newest else 0
            while len(model) > least and (
                sum(model.values()) > max_bytes or (max_entries is not None and len(model) > max_entries)
            ):
                del model[next(iter(model))]
        else:
            assert recent.get(key) == model.get(key)
            if key in model:
                model[key] = model.pop(key)
        assert {key for key in "abcdef" if key in recent} == set(model) and len(recent) == len(model)
        assert recent.nbytes == sum(model.values())


def test_what_is_discarded_takes_no_bytes():
    recent = Recent(10, len)
    recent.put("a", "xxx")
    recent.put("b", "xx")
    recent.discard("a")
    recent.discard("c")
    assert recent.nbytes == 2 and "a" not in recent
    recent.clear()
    assert recent.nbytes == len(recent) == 0
