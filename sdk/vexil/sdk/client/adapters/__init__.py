"""The real world behind the seams of the client: HTTP, files, the clock, threads, ``fork``."""
