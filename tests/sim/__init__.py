"""Whole clusters in simulation, from a seed."""
