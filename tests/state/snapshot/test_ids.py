"""Ids in short: the one that is meant, all that begin so, and never another object for a name."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

import snapkit
from snapkit.errors import AmbiguousError, NotInSnapshotError
from snapkit.state.snapshot.ids import beginning, whole

from ...conftest import path_of

IDS = st.lists(st.builds(lambda n: str(uuid.UUID(int=n)), st.integers(0, 2**128 - 1)), min_size=1, unique=True)


@given(IDS, st.data())
def test_whatever_begins_an_id_is_that_id_or_several(ids: list[str], data: st.DataObject) -> None:
    meant = data.draw(st.sampled_from(ids))
    short = meant[: data.draw(st.integers(1, 36))]
    found = beginning(short, ids)
    assert meant in found
    assert found == [each for each in ids if each.startswith(short)]
    if len(found) == 1:
        assert whole(short, ids, "here") == meant
    else:
        with pytest.raises(AmbiguousError, match=f"here: {len(found)} ids begin with"):
            whole(short, ids, "here")


def test_a_whole_id_or_a_name_is_what_it_is() -> None:
    ids = [str(uuid.UUID(int=n)) for n in range(30)]
    assert whole(ids[7], ids, "here") == ids[7]
    for key in ("", "9", "-", ids[0] + "0", ids[0].replace("0", "x")):
        assert whole(key, ids, "here") == key
    assert beginning(("shop", "we"), [("shop", "web")]) == []
    assert beginning(("shop", ids[3][:9]), [("shop", ids[3])]) == [("shop", each) for each in ids[3:4]]
    assert beginning(("sho", ids[3]), [("shop", ids[3])]) == []
    assert beginning((ids[3],), [(ids[3], "1")]) == [], "half a key is none"
    assert beginning("0", [*ids, *ids]) == ids, "a record that stands twice is one"


def test_several_are_told_up_to_ten() -> None:
    ids = [str(uuid.UUID(int=n)) for n in range(12)]
    with pytest.raises(AmbiguousError) as caught:
        whole(("shop", "00000000"), [("shop", each) for each in ids], "table host_volumes")
    assert str(caught.value) == (
        "table host_volumes: 12 ids begin with 'shop/00000000'; give more of it: "
        f"{', '.join(f'shop/{each}' for each in ids[:10])} and 2 more"
    )


def test_a_snapshot_finds_the_key_and_gets_by_whole_ones_alone() -> None:
    with snapkit.open(path_of("v2.0.5/friday")) as snap:
        for table in ("allocs", "evals", "nodes", "deployments", "acl_tokens", "acl_roles", "root_keys"):
            for id_ in snap.table(table, []).index:
                assert snap.find(table, id_[:8]) == (id_,)
                with pytest.raises(NotInSnapshotError, match=f"did you mean {id_}"):
                    snap.get(table, id_[:8])
        assert snap.find("jobs", "shop", "web") == snap.find("jobs", ("shop", "web")) == ("shop", "web")
        for table, *key in (("jobs", "shop", "we"), ("acl_policies", "anonymou"), ("allocs", ""), ("allocs", "a", "b")):
            with pytest.raises(NotInSnapshotError):
                snap.find(table, *key)
        with pytest.raises(AmbiguousError):
            snap.find("allocs", "0")
