"""Measurements of real time, run by ``make bench``; pytest does not collect them."""
