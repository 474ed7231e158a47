"""``vexil dev``: a whole multi-region cluster of real processes on one machine, watched from one terminal.

The one idea: the supervisor is a bystander. Its nodes are started in sessions of their own, from configuration files
that anybody can start them from, and it never restarts one: what dies stays dead and is reported, as in a real
outage. All it adds is a project and keys to begin with, and the order in which things start and stop.

This package is an adapter: processes, signals, sockets and real time are touched here and nowhere else in the
command line.
"""
