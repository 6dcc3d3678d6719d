"""What Convex invocations a shell text would start, found with a shell's grammar. Runs nothing and decides nothing.

It errs towards finding: every value that the text may give to a variable counts, and every branch. What it cannot see
is listed in docs/hooks.md: files that a shell runs, `make`, and words that come from elsewhere and name nothing here.
"""

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from gate.intent import shell_programs as programs
from gate.intent.mention import mentions
from gate.intent.shell_ground import Call, Ground
from gate.intent.shell_plain import rewrite
from gate.intent.shell_tables import UNKNOWN
from gate.intent.shell_words import Variables, fields, joined, targets, text_of, values

NONE, CONVEX, SERVER, UNCLEAR = "none", "convex", "server", "unclear"

_LONGEST = 64 * 1024
_CHUNK = 4096
_ASCII = bytes(byte if byte < 128 else ord("_") for byte in range(256))  # noqa: PLR2004 - where ASCII ends
# The grammar takes the square of these in time and memory, at the end of a text and past any time limit.
_MOST_PIPES = 1500
_COSTLY = re.compile(rb"`\s{0,20}<")
_MOST_COSTLY = 100
# `! { A; }`: the grammar takes the brace for a program, and loses what stands in it.
_BEFORE_GROUP = re.compile(rb"((?:^|[;&|({\n]|\b(?:do|then|else))[ \t]{0,20})(!|time|coproc)(?=\s{1,20}\{\s)")
_DEEPEST = 100
_MOST_WAYS = 16
# What reading this much of a text inside the text costs as much as starting a program.
_LETTERS = 64
_BASH = Language(tree_sitter_bash.language())
_UNSEEN = "there is too much in it"
_SURROGATES = re.compile("[\ud800-\udfff]")
_REDIRECTS = frozenset({"file_redirect", "heredoc_redirect", "herestring_redirect"})
# What stands between the words that they print; a format of printf's is a line of its own here.
_PRINTS = {"echo": " ", "printf": "\n"}
_NO_WORDS = _REDIRECTS | {"variable_assignment", "subshell"}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text would start. `kind`: NONE, CONVEX, SERVER (Convex's MCP server) or UNCLEAR, with `why`.

    `calls`: every start of the CLI that was found. `rewritten`: the text with `gate convex` in the call's place, where
    its form is plain; `writes`: it sends output to a file. `wanted`: folders whose package.json would say more.
    """

    kind: str
    calls: tuple[Call, ...] = ()
    why: str | None = None
    rewritten: str | None = None
    writes: bool = False
    wanted: frozenset[str] = frozenset()


def read_shell(text: str, packages: Mapping[str, Mapping[str, str]]) -> Reading:
    """Read the shell text `text`. Never raises.

    `packages`: scripts of package.json by folder as the text would name it, `.` being the one that it runs in.
    """
    if len(text) > _LONGEST:
        return _unread(text, "it is too long to be read")
    # No program can be given either: a NUL, or a surrogate without its other half.
    clean = _SURROGATES.sub("\ufffd", text.replace("\0", ""))
    walk = _Walk(packages)
    try:
        root = walk.read_twice(clean)
    except RecursionError:
        return _unread(clean, _UNSEEN)
    return _judged(walk, clean, root if clean == text else None)


def _unread(text: str, why: str) -> Reading:
    return Reading(UNCLEAR, why=why) if mentions(text) else Reading(NONE)


def _judged(walk: "_Walk", text: str, root: Node | None) -> Reading:
    ground, packages = walk.ground, walk.packages
    calls = tuple(dict.fromkeys(ground.calls))
    wanted = frozenset(ground.wanted)
    if any(call.serves for call in ground.calls):
        return Reading(SERVER, calls, wanted=wanted)
    suspects = [*ground.suspects, *[_UNSEEN] * ground.unseen]
    doubts = ground.doubts + (suspects if mentions(text) or _named(walk) else [])
    if not ground.calls:
        return Reading(UNCLEAR if doubts else NONE, why=doubts[0] if doubts else None, wanted=wanted)
    plain = None
    if root is not None and len(calls) == 1 and not doubts:
        plain = rewrite(text, root, packages.get(ground.folder or "", {}))
    rewritten, writes = plain or (None, False)
    return Reading(CONVEX, calls, rewritten=rewritten, writes=writes, wanted=wanted)


def _named(walk: "_Walk") -> bool:
    """Whether variables of the text, put together, or its scripts name Convex where its own letters do not."""
    known = walk.ground.variables.values.values()
    return any(mentions(value) for found in known for value in found) or walk.heard


@dataclass(slots=True)
class _Text:
    """What the parser reads. It never sees a letter beyond ASCII: the grammar looks those up past a table's end.

    Afterwards the nodes read the text as it is: `shown`. Every byte has its place in both.
    """

    source: bytes
    shown: bytes = field(init=False)

    def __post_init__(self) -> None:
        ascii_only = self.source.translate(_ASCII)
        self.shown = _BEFORE_GROUP.sub(lambda match: match[1] + b" " * len(match[2]), ascii_only)

    def read(self, offset: int, _: object) -> bytes:
        """A piece of it."""
        return self.shown[offset : offset + _CHUNK]


@dataclass(slots=True)
class _Walk:
    """One walk over a text and every text inside it."""

    packages: Mapping[str, Mapping[str, str]]
    ground: Ground = field(init=False)
    heard: bool = False
    depth: int = 0

    def __post_init__(self) -> None:
        self.ground = self._fresh(Variables())

    def _fresh(self, variables: Variables) -> Ground:
        return Ground(self.packages, self.run, self.read, variables)

    def read_twice(self, text: str) -> Node | None:
        """Read `text` to learn what it defines, then again with that known; returns its tree."""
        root = self._read(text)
        first = self.ground
        defines = first.variables.values or first.functions or first.aliases or first.written
        if defines and not first.spent:
            self.ground = self._fresh(first.variables)
            self.ground.until, self.ground.unseen = first.until, first.unseen
            self.ground.functions, self.ground.aliases = first.functions, first.aliases
            self.ground.written, self.ground.data = first.written, first.data
            self._read(text)
            self.ground.wanted |= first.wanted
        return root

    def run(self, words: list[str]) -> None:
        """Start a program."""
        programs.run(self.ground, words)

    def read(self, text: str) -> None:
        """Read a text inside the text."""
        if not self.ground.spend(len(text) // _LETTERS):
            return
        self.heard = self.heard or mentions(text)
        self.ground.nesting += 1
        self._read(text)
        self.ground.nesting -= 1

    def _read(self, text: str) -> Node | None:
        root = self._parse(text.encode())
        if root is None or root.has_error:
            self.ground.suspects.append("it is no plain shell text")
        if root is not None:
            self.visit(root)
        return root

    def _parse(self, source: bytes) -> Node | None:
        """The tree of `source`; None where that takes too long."""
        if source.count(b"|") > _MOST_PIPES or len(_COSTLY.findall(source)) > _MOST_COSTLY:
            return None
        text = _Text(source)
        try:
            tree = Parser(_BASH).parse(text.read, progress_callback=lambda _, __: self.ground.spent)
        except ValueError:
            return None
        text.shown = source
        return tree.root_node

    def visit(self, node: Node) -> None:
        """Look at `node` and everything in it."""
        if self.depth > _DEEPEST or self.ground.spent:
            self.ground.unseen = True
            return
        self.depth += 1
        _VISITS.get(node.type, _Walk.inside)(self, node)
        self.depth -= 1

    def inside(self, node: Node) -> None:
        """Look at what `node` holds."""
        for child in node.named_children:
            self.visit(child)

    def listed(self, node: Node) -> None:
        """`A && B || C` is nested to the left; a long one is no deep one."""
        later: list[Node] = []
        while node.type == "list" and node.named_children:
            later += node.named_children[:0:-1]
            node = node.named_children[0]
        for part in [node, *later[::-1]]:
            self.visit(part)

    def apart(self, node: Node) -> None:
        """A subshell: where it goes, others do not."""
        before = self.ground.folder
        self.inside(node)
        self.ground.folder = before

    def assigned(self, node: Node) -> None:
        """`X=value`, `X+=value`, `X=(a b)`."""
        self.inside(node)
        named = node.named_children
        name, given = text_of(named[0]), named[1:]
        variables = self.ground.variables
        if given and given[0].type == "array":
            words = [" ".join(ways[0]) for ways in (fields(item, variables) for item in given[0].named_children)]
            variables.add(f"{name}[@]", ["\ufdd1".join(words)])
            variables.add(f"{name}[*]", ["\ufdd1".join(words)])
            return
        found = [joined(value) for value in values(given[0], variables)] if given else [""]
        if any(child.type == "+=" for child in node.children):
            found = [before + value for before in variables.values.get(name, [""]) for value in found]
        variables.add(name, found)

    def looped(self, node: Node) -> None:
        """`for X in A B`: X holds each of them."""
        name, *rest = node.named_children
        for item in [item for item in rest if item.type != "do_group"]:
            for words in fields(item, self.ground.variables):
                self.ground.variables.add(text_of(name), words)
        self.inside(node)

    def defined(self, node: Node) -> None:
        """A function: its body may run, with words that are not known yet."""
        name, body = node.named_children[0], node.named_children[-1]
        self.ground.functions[text_of(name)] = self._caller(body)
        self.inside(node)

    def _caller(self, body: Node) -> Callable[[list[str]], None]:
        def call(words: list[str]) -> None:
            if self.ground.spend((body.end_byte - body.start_byte) // _LETTERS):
                before = self.ground.variables
                self.ground.variables = before.with_parameters(words)
                self.ground.nesting += 1
                self.visit(body)
                self.ground.nesting -= 1
                self.ground.variables = before

        return call

    def commanded(self, node: Node, after: Sequence[Node] = ()) -> None:
        """One simple command, with the words `after` its redirections."""
        words: list[Node] = []
        for child in node.named_children:
            self.visit(child)
            if child.type not in _NO_WORDS:
                words.append(child)
        before = self.ground.stdin
        self._redirected(node)
        for way in self._ways([*words, *after]):
            self._note_data(way)
            self.run(way)
        self.ground.stdin = before

    def _ways(self, words: Sequence[Node]) -> Iterator[list[str]]:
        """Every list of words that the command may come to."""
        choices = [fields(word, self.ground.variables) for word in words]
        count = 1
        for choice in choices:
            count *= len(choice)
        if count > _MOST_WAYS:
            choices = [choice if len(choice) == 1 else [[UNKNOWN]] for choice in choices]
        for way in product(*choices):
            yield [word for part in way for word in part]

    def _note_data(self, words: list[str]) -> None:
        if words and programs.program(words[0]) in _PRINTS:
            self.ground.data += words[1:]
        if words and programs.program(words[0]) in ("tee", "cp", "mv", "install"):
            self.ground.written |= {posixpath.basename(word) for word in words[1:]}

    def redirected(self, node: Node) -> None:
        """`BODY < FILE > FILE << WORD`: the body with its stdin."""
        before = self.ground.stdin
        self._redirected(node)
        after = [word for child in node.named_children if child.type in _REDIRECTS for word in _after(child)]
        for child in node.named_children:
            if child.type == "command":
                self.commanded(child, after)
            elif child.type not in _REDIRECTS:
                self.visit(child)
        self.ground.stdin = before
        for child in node.named_children:
            if child.type in _REDIRECTS:
                self.visit(child)

    def _redirected(self, node: Node) -> None:
        for child in node.named_children:
            if child.type in _REDIRECTS:
                self._redirect(child)

    def _redirect(self, node: Node) -> None:
        """Where stdin comes from, and which files are written."""
        variables = self.ground.variables
        if node.type == "file_redirect":
            operator = next((child.type for child in node.children if not child.is_named), "")
            target = targets(node)[0] if targets(node) else node
            if operator.startswith("<"):
                self.ground.stdin = UNKNOWN if target.type == "process_substitution" else self.ground.stdin
            else:
                self.ground.written |= {posixpath.basename(word) for way in fields(target, variables) for word in way}
            return
        body = _body(node)
        data = UNKNOWN if body is None else joined(_data(node, body, variables))
        self.ground.data.append(data)
        self.ground.stdin = data

    def heard_here(self, node: Node) -> None:
        """A heredoc: the rest of its first line stands inside it, a pipe that reads it too."""
        before, body = self.ground.stdin, _body(node)
        for child in node.named_children:
            if child.type == "pipeline" and body is not None:
                self.ground.stdin = f"{joined(_data(node, body, self.ground.variables))}\n{UNKNOWN}"
            self.visit(child)
            self.ground.stdin = before

    def piped(self, node: Node) -> None:
        """Each stage reads what the one before it prints, as far as that is known."""
        before = self.ground.stdin
        for stage in node.named_children:
            self.visit(stage)
            self.ground.stdin = self._printed(stage)
        self.ground.stdin = before

    def _printed(self, node: Node) -> str:
        """What a stage prints, never taken for all of it: the mark at its end keeps a shell that reads it suspect."""
        found: list[str] = []
        stack = [node]
        while stack:
            inner = stack.pop()
            body = _body(inner) if inner.type in _REDIRECTS else None
            found += [text_of(body)] if body is not None else self._said(inner)
            stack += inner.named_children[::-1]
        return "\n".join([*found, UNKNOWN])

    def _said(self, node: Node) -> list[str]:
        """The words of an `echo` or `printf`, also behind another program."""
        if node.type != "command":
            return []
        words = next(self._ways([child for child in node.named_children if child.type not in _NO_WORDS]), [])
        at = next((at for at, word in enumerate(words) if programs.program(word) in _PRINTS), len(words) - 1)
        return [_PRINTS[programs.program(words[at])].join(words[at + 1 :])] if words[at + 1 :] else []


def _after(redirect: Node) -> list[Node]:
    """Words of the command that stand behind a redirection."""
    return {"file_redirect": targets(redirect)[1:], "heredoc_redirect": targets(redirect)}.get(redirect.type, [])


def _body(node: Node) -> Node | None:
    """The data of a heredoc or a here-string."""
    if node.type == "herestring_redirect":
        return node.named_children[-1]
    return next((child for child in node.named_children if child.type == "heredoc_body"), None)


def _data(node: Node, body: Node, variables: Variables) -> str:
    start = next((text_of(child) for child in node.named_children if child.type == "heredoc_start"), "")
    if any(mark in start for mark in "'\"\\"):
        return text_of(body)
    return values(body, variables, quoted=True)[0]


_VISITS: Mapping[str, Callable[[_Walk, Node], None]] = {
    "list": _Walk.listed,
    "subshell": _Walk.apart,
    "command_substitution": _Walk.apart,
    "process_substitution": _Walk.apart,
    "variable_assignment": _Walk.assigned,
    "for_statement": _Walk.looped,
    "function_definition": _Walk.defined,
    "command": _Walk.commanded,
    "redirected_statement": _Walk.redirected,
    "heredoc_redirect": _Walk.heard_here,
    "pipeline": _Walk.piped,
    "comment": lambda walk, node: None,  # noqa: ARG005 - nothing of it runs
}
