"""Globs: `*` is any run of characters, every other character is itself. Nothing else."""


def matches(pattern: str, text: str) -> bool:
    """Tell whether `text` as a whole matches `pattern`, in time linear in `text`: the text may be an agent's."""
    head, *middle = pattern.split("*")
    if not middle:
        return text == pattern
    tail = middle.pop()
    at, end = len(head), len(text) - len(tail)
    if at > end or not text.startswith(head) or not text.endswith(tail):
        return False
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
