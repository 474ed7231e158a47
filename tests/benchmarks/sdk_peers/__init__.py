"""What the speed of the SDK is measured beside, one measured thing a module, and what they all have in common."""
