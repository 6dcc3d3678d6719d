"""KEYS: one file per backend. A key leaves this room only towards the proxy."""
