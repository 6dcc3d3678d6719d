"""BY WHOSE LEAVE: requests, signed approvals and grants, as one fold of the ledger's events. Writes nothing itself."""
