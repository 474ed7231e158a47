"""Those who ask: what they want, and how they go about it."""
