"""The door of hooks: what an agent asks before it uses a tool, and the answer in the agent's own form."""
