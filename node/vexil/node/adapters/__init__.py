"""The real implementations of the seams, and nothing else: only here are clocks, sockets, files and threads touched."""
