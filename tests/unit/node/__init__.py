"""Tests of ``vexil.node`` without the world: no sockets, no files, no clock."""
