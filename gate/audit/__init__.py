"""The ledger, and the only room that opens a database. Knows events, not what they mean."""
