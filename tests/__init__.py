"""Tests of all four packages, by kind: unit, property, contract, sim, integration, e2e; and the benchmarks."""
