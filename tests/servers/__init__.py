"""Tests of the one application and of the servers that are not ours."""
