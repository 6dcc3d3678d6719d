"""The demo's story and its stand-in for Convex, which is also the tests' fake."""
