"""WHO: peer credentials, owners of agents, and SSH signatures. Grants nothing."""
