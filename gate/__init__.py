"""convex-gate: an operational guardrail and access gate in front of Convex. Holds the version and nothing else."""

__version__ = "0.1.0"
