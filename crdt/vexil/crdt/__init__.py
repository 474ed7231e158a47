"""The kernel: cells, causality, changes and the replica that folds them.

Everything here is pure: bytes and values in, bytes and values out, the same answer for the same input on every
node. It knows no network, no disk, no clock and no randomness; whoever calls it brings those.
"""
