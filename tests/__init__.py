"""The tests mirror the two packages; contract, e2e and chaos tests are beside them."""
