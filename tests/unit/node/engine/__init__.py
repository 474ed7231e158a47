"""The engine against everything that the world may do to it."""
