"""The plain form of a Convex call, in which the package runner can be replaced word for word. Finds no calls.

Plain: `[cd FOLDER &&] RUNNER convex WORDS [redirections]`, every word literal, nothing before the runner.
"""

import re
from collections.abc import Mapping, Sequence

from tree_sitter import Node

from gate.intent.shell_tables import SPEC, UNKNOWN
from gate.intent.shell_words import Variables, fields, targets, text_of

_GATE = b"gate convex"
_REDIRECTS = frozenset({"file_redirect", "heredoc_redirect", "herestring_redirect"})
_LITERALS = frozenset({"word", "number", "string", "string_content", "raw_string", "ansi_c_string", "concatenation"})
_FILES = ("convex", "node_modules/.bin/convex", "./node_modules/.bin/convex")
# Whether the words after `convex` reach it as they stand, and whether a script of that name would go first.
_RUNNERS: Mapping[tuple[str, ...], tuple[bool, bool]] = {
    ("npx",): (True, False),
    ("bunx",): (True, False),
    ("pnpx",): (True, False),
    ("npm", "exec"): (False, False),
    ("npm", "x"): (False, False),
    ("pnpm", "exec"): (True, False),
    ("pnpm", "dlx"): (True, False),
    ("yarn", "dlx"): (True, False),
    ("yarn", "run"): (True, True),
    ("bun", "x"): (True, False),
    ("bun", "run"): (True, True),
    ("pnpm",): (True, True),
    ("yarn",): (True, True),
}
_FLAGS = frozenset({"-y", "--yes", "-q", "--quiet", "-s", "--silent", "--bun", "--no", "--no-install"})
_PACKAGES = ("-p", "--package")
_PACKAGE = re.compile(f"--package=(?:{SPEC.pattern})")


def rewrite(text: str, root: Node, scripts: Mapping[str, str]) -> tuple[str, bool] | None:
    """`text` with `gate convex` in the runner's place, every other byte kept, and whether output goes to a file.

    None where the form is not plain. `scripts`: those of the package.json that counts here.
    """
    command, redirects = _only_command(root)
    if command is None:
        return None
    nodes = [child for child in command.named_children if child.type not in _REDIRECTS]
    words = [_literal(child) for child in nodes]
    size = 0 if None in words else _runner([word for word in words if word is not None], scripts)
    if size == 0:
        return None
    source = text.encode()
    inside = [child for child in command.named_children if child.type in _REDIRECTS]
    start, end = nodes[0].start_byte, nodes[size - 1].end_byte
    if any(nodes[0].start_byte < one.start_byte < end for one in inside):
        return None
    replaced = source[:start] + _GATE + source[end:]
    return replaced.decode(), any(map(_writes, [*redirects, *inside]))


def _only_command(root: Node) -> tuple[Node | None, list[Node]]:
    statements = [child for child in root.named_children if child.type != "comment"]
    node = statements[0] if len(statements) == 1 else root
    if node.type == "redirected_statement" and node.named_children[0].type == "list":
        body, redirects = node.named_children[0], node.named_children[1:]
    else:
        body, redirects = node, []
    body = _after_cd(body)
    if body.type == "redirected_statement":
        body, redirects = body.named_children[0], [*body.named_children[1:], *redirects]
    return (body if body.type == "command" and all(map(_is_redirect, redirects)) else None), redirects


def _after_cd(node: Node) -> Node:
    """The command after `cd FOLDER &&`; `node` itself where it does not begin like that."""
    if node.type != "list" or [child.type for child in node.children if not child.is_named] != ["&&"]:
        return node
    first, second = node.named_children
    words = [_literal(child) for child in first.named_children] if first.type == "command" else []
    return second if words[:1] == ["cd"] and len(words) == 2 and words[1] is not None else node  # noqa: PLR2004 - cd and its folder


def _is_redirect(node: Node) -> bool:
    """Whether it is a redirection and nothing else: behind its target more words may stand, or more commands."""
    parts = {"heredoc_start", "heredoc_body", "heredoc_end"}
    if node.type == "heredoc_redirect":
        return all(child.type in parts for child in node.named_children)
    return node.type in _REDIRECTS and len(targets(node)) <= 1


def _writes(node: Node) -> bool:
    operator = next((child.type for child in node.children if not child.is_named), "")
    return ">" in operator and any(one.type != "number" and text_of(one) != "/dev/null" for one in targets(node)[:1])


def _literal(node: Node) -> str | None:
    """The one word that `node` is, whatever happens; None where that is not certain."""
    inner = node.named_children[0] if node.type == "command_name" else node
    if not _is_literal(inner):
        return None
    ways = fields(inner, Variables())
    word = ways[0][0] if len(ways) == 1 and len(ways[0]) == 1 else UNKNOWN
    return None if UNKNOWN in word else word


def _is_literal(node: Node) -> bool:
    return node.type in _LITERALS and all(map(_is_literal, node.named_children))


def _runner(words: Sequence[str], scripts: Mapping[str, str]) -> int:
    """How many of `words` make up the runner and `convex`; 0 where they are no plain runner."""
    if words[0] in _FILES:
        return 1
    prefix = next((prefix for prefix in _RUNNERS if tuple(words[: len(prefix)]) == prefix), None)
    if prefix is None:
        return 0
    verbatim, is_script = _RUNNERS[prefix]
    at, ended = _flags(words, len(prefix))
    named = words[at : at + 1] and SPEC.fullmatch(words[at]) and words[at].partition("@")[0] == "convex"
    if not named or (is_script and "convex" in scripts):
        return 0
    return at + 1 if verbatim or ended else _npm(words, at + 1)


def _flags(words: Sequence[str], at: int) -> tuple[int, bool]:
    """Where the program's name stands, past options that do not matter, and whether `--` ended them."""
    while at < len(words):
        if words[at] in _PACKAGES and SPEC.fullmatch("".join(words[at + 1 : at + 2])):
            at += 2
        elif words[at] in _FLAGS or _PACKAGE.fullmatch(words[at]):
            at += 1
        else:
            break
    ended = words[at : at + 1] == ["--"]
    return at + ended, ended


def _npm(words: Sequence[str], at: int) -> int:
    """Options are npm's own until `--`, which it takes away."""
    if words[at : at + 1] == ["--"]:
        return at + 1
    return 0 if any(word.startswith("-") for word in words[at:]) else at
