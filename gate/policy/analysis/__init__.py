"""What policies mean for all requests at once: exact, and answered with requests that can be asked. Pure."""
