"""`gate mcp`: an MCP server over stdin and stdout that agents configure instead of Convex's own."""
