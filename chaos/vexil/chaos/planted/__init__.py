"""Bugs that broke systems like this one, planted into the running code to show that the checkers would find them.

One file each. They are patches that a context manager applies at run time; nothing of them is in production code.
"""
