"""What the configuration of each coding agent looks like, and how the gate's part gets in, out, and is checked."""
