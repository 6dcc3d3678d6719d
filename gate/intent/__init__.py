"""WHAT an invocation would do: its effects on its resources. Knows no deployment and no rule."""
