"""Simulation: the real node code on simulated clocks, networks and disks, with faults, workloads and checkers.

Everything follows from one seed, so that a failure is replayed by naming it.
"""
