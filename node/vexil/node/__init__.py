"""The server: engine, storage, gossip, HTTP interfaces, console and command line.

The world is reached through the small Protocols of ``vexil.node.seams`` only, so that the same code runs in
production and in simulation. This module imports no third-party package: the command line must be able to say
which extra is missing.
"""
