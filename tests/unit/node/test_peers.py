"""What a node keeps about one peer: how large a page it asks of it, how often it heard it."""

from __future__ import annotations

import trio

from vexil.node.gossip.messages import PAGE_BYTES, PAGE_BYTES_MIN
from vexil.node.gossip.peers import INTERVALS_KEPT_MAX, Peer


def test_a_page_gets_smaller_down_to_a_bound_and_large_again() -> None:
    peer = Peer("eu-2", "eu", "p://eu-2")
    sizes = [peer.page_bytes]
    for _ in range(20):
        peer.page_did_not_fit()
        sizes.append(peer.page_bytes)
    assert sizes[:3] == [PAGE_BYTES, PAGE_BYTES // 2, PAGE_BYTES // 4]
    assert sizes[-2:] == [PAGE_BYTES_MIN] * 2
    for _ in range(20):
        peer.page_fitted()
    assert peer.page_bytes == PAGE_BYTES


async def test_suspicion_goes_by_the_latest_contacts_only(autojump_clock: object) -> None:
    peer = Peer("eu-2", "eu", "p://eu-2")
    for pause_s in [100.0] * 50 + [1.0] * (INTERVALS_KEPT_MAX + 1):
        peer.heard(offset_ms=None)
        await trio.sleep(pause_s)
    assert len(peer.intervals_s) == INTERVALS_KEPT_MAX
    assert not peer.suspected
    # With the long pauses of before in mind, this would be nothing.
    await trio.sleep(20)
    assert peer.suspected
