"""Tests of the client: its logic on virtual time against nodes in memory, its adapters against a small real server."""
