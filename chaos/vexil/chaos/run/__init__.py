"""One run: its plan, what happens in it, and its history."""
