"""The built wheel, tried as a user gets it: in clean environments, away from the source tree."""
