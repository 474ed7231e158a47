"""The rules of replication, each switched off in the running code: what holds with a rule must break without it.

One file a switch, named by the number of its rule. As with every planted bug these are patches that a context manager
applies at run time; nothing of them is in production code.
"""
