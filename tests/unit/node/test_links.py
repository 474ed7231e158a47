"""Links that are cut on purpose: between which places, and how many."""

from __future__ import annotations

import pytest

from vexil.node.gossip import links
from vexil.node.gossip.links import Links
from vexil.node.seams import PeerIdentity

EU_1, EU_2, US_1 = PeerIdentity("eu-1", "eu"), PeerIdentity("eu-2", "eu"), PeerIdentity("us-1", "us")


def test_a_cut_holds_in_both_directions_for_nodes_and_for_whole_regions() -> None:
    cut = Links()
    cut.set("us", "eu", cut=True)
    cut.set("eu-1", "eu-2", cut=True)
    assert cut.blocked(EU_1, US_1)
    assert cut.blocked(US_1, EU_2)
    assert cut.blocked(EU_2, EU_1)
    assert cut.listed() == [["eu", "us"], ["eu-1", "eu-2"]]
    cut.set("eu", "us", cut=False)
    assert not cut.blocked(US_1, EU_2)
    assert cut.blocked(EU_1, EU_2)


def test_beyond_so_many_cuts_another_is_refused_and_those_there_are_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links, "CUTS_MAX", 2)
    cut = Links()
    cut.set("eu-1", "us-1", cut=True)
    cut.set("eu-2", "us-1", cut=True)
    with pytest.raises(ValueError, match="2 links are cut already"):
        cut.set("eu-1", "eu-2", cut=True)
    assert cut.listed() == [["eu-1", "us-1"], ["eu-2", "us-1"]]
    # What is cut may be cut again, and what is mended makes room.
    cut.set("us-1", "eu-2", cut=True)
    cut.set("eu-1", "us-1", cut=False)
    cut.set("eu-1", "eu-2", cut=True)
    assert cut.blocked(EU_1, EU_2)
    assert not cut.blocked(EU_1, US_1)
