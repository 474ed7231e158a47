"""Tests of the supervisor of local clusters, with small scripts in the place of nodes."""
