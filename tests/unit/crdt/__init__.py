"""Tests of the pure kernel and of reading its cells."""
