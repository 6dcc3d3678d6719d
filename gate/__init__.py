"""convex-gate: an operational guardrail and access gate in front of Convex. Holds the versions and nothing else."""

# Versions of Convex's CLI that the tables of commands and routes were made from (docs/contract.md, Versions).
CONVEX_VERSIONS = ("1.48.0",)
__version__ = "0.1.0"
