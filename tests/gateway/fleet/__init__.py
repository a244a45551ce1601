"""Tests of several models behind one gateway."""
