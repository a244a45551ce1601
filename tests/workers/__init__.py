"""Tests of the worker inside the test process, with real llama.cpp where it matters."""
