"""Tests of the OpenFeature provider, through the OpenFeature API itself."""
