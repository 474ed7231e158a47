"""What is done to the running code to try the harness: bugs, rules switched off, and refactors that change nothing.

All are patches that a context manager applies at run time; nothing of them is in production code. One file each, in the
folder of its kind: `bugs`, `rules`, `benign`. `catalogue` finds them.
"""
