"""The bundle: gate.yaml, policies and signers as one digest, and how it is activated. Decides nothing."""
