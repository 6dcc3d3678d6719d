"""Shapes of secrets, and of text that talks to a model rather than to a reader: two short lists. Knows no result.

Conservative on purpose: what is masked is lost to the reader, and a mark that always stands there says nothing.

Standard library only: this is the hot path of `gate mcp`.
"""

import re

# Convex's own: deploy keys `dev:NAME|...`, admin keys `NAME|...`, and with them every lease of the gate's.
# A name begins where no other part of it stands before: each character is looked at a bounded number of times.
_CONVEX = re.compile(
    r"(?<![\w-])(?:prod|dev|preview|project):[\w:.-]{1,200}\|[\w+/=.-]{8,}"
    r"|(?<![a-z0-9-])[a-z0-9][a-z0-9-]{0,100}\|[0-9a-f]{32,}",
    re.ASCII,
)
# Each with texts of which one stands in every secret of that shape: finding none costs a hundredth of a search.
_SHAPES = (
    ("a Convex key", ("|",), _CONVEX),
    (
        "a private key",
        ("-----BEGIN ",),
        re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)", re.DOTALL),
    ),
    ("a signed token", ("eyJ",), re.compile(r"(?<![\w-])eyJ[\w-]{6,}\.eyJ[\w-]{4,}\.[\w-]{4,}", re.ASCII)),
    (
        "an API key",
        ("sk-", "k_live_", "k_test_"),
        re.compile(r"\bsk-[A-Za-z0-9_-]{20,}|\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}", re.ASCII),
    ),
    ("an AWS key id", ("AKIA", "ASIA"), re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", re.ASCII)),
    (
        "a GitHub token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_\w{40,}", re.ASCII),
    ),
)
_INSTRUCTIONS = re.compile(
    r"\b(?:ignore|disregard|forget)\s+(?:all\s+|any\s+|the\s+|your\s+){0,3}(?:previous|prior|earlier|above)\s+"
    r"(?:instructions?|prompts?|messages?|rules)"
    r"|</?(?:system|assistant|tool_call|tool_result|function_calls?|function_results?|invoke)\b[^<>]{0,200}>"
    r"|<\|(?:im_start|im_end|system|endoftext)\|>"
    r"|\[/?INST\]"
    r"|\bdo\s+not\s+(?:tell|inform|mention\s+(?:this|it)\s+to)\s+the\s+user\b"
    r"|\bnew\s+(?:system\s+prompt|instructions\s+for\s+(?:the\s+)?(?:assistant|model|agent))\b",
    re.IGNORECASE | re.ASCII,
)
# In small letters: of these one stands in whatever the pattern finds.
_INSTRUCTING = ("ignore", "disregard", "forget", "<", "inst]", "user", "system", "instructions")


def masked(text: str) -> str:
    """`text` with every secret of a known shape replaced by the name of its kind."""
    for kind, parts, shape in _SHAPES:
        if any(map(text.__contains__, parts)):
            text = shape.sub(f"[masked: {kind}]", text)
    return text


def without_convex_keys(text: str) -> str:
    """`text` with Convex's keys masked, and nothing else: for a value that was asked for as a secret."""
    return _CONVEX.sub("[masked: a Convex key]", text)


def instructs(text: str) -> bool:
    """Whether `text` looks like instructions to a model."""
    lowered = text.lower()
    return any(map(lowered.__contains__, _INSTRUCTING)) and _INSTRUCTIONS.search(text) is not None
