"""Tests of authoring: from what someone wants to the cells to write."""
