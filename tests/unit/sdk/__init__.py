"""Tests of evaluation, and of the two forms in which it leaves the process: OFREP and flagd."""
