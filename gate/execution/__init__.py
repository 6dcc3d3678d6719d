"""The child: its environment, its process group, its end. Decides nothing."""
