"""Tests of the command line, against a node that is played by a transport."""
