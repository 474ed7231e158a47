"""How changes travel between nodes: messages, pushes, digests and pulls, and what a node knows of its peers.

Nothing here opens a connection: calls go through the `PeerTransport` seam, so the same code runs in simulation.
"""
