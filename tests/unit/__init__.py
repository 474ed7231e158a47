"""Tests of one module or one rule at a time, without processes, sockets or real time."""
