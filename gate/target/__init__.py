"""WHERE an invocation would go: Convex's own precedence over flags, variables and files, met with the registry."""
