"""Histories that are told to one checker by hand: right ones, and for each way to be wrong a wrong one."""
