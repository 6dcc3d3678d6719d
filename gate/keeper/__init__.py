"""The trusted process: its socket, sessions, start and end, and the client that doors use."""
