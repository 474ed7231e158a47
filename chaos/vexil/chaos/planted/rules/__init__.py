"""The rules of replication, each switched off in the running code: what holds with a rule must break without it.

One file a switch, with a ``SWITCH``, named by the number of its rule. Nothing else may be in this folder.
"""
