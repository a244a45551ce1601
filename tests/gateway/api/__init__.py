"""Tests of the dialects without HTTP: bodies in, bytes out."""
