"""Real processes over real sockets, driven as a user would."""
