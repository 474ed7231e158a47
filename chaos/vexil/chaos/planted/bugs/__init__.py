"""Bugs that broke systems like this one, planted to show that the checkers would find them.

One file each, with a ``BUG``. Nothing else may be in this folder.
"""
