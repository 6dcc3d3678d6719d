"""What programs do with the words that follow them, as far as a Convex call may hide there. Reads no shell text.

Options with a value are listed where missing one would make its value look like the program that is run.
"""

import re
from dataclasses import dataclass

from gate.intent.commands import ROOT

# Stands for whatever is not known before a text runs.
UNKNOWN = "\ufdd0"

# Words by which Convex's own commands begin.
COMMANDS = frozenset(name for node in ROOT.commands for name in (node.name, *node.aliases)) | {"help", "--help"}

SPEC = re.compile(
    r"(?:npm:)?convex(?:@[^\s/]*)?|[\w-]+@npm:convex(?:@[^\s/]*)?|(?:.*/)?node_modules/convex/?"
    r"|(?:github:)?get-convex/convex(?:-js|-backend)?(?:#.*)?|.*/convex-\d[\w.-]*\.tgz",
    re.IGNORECASE,
)
# Files of the package `convex` that are its command line.
FILES = re.compile(
    r"(?:.*/)?(?:\.bin/convex(?:\.cmd|\.ps1)?"
    r"|convex/(?:bin/main(?:-dev)?(?:\.js)?|dist/cli[^/]*|dist/(?:cjs|esm)/cli/.*))",
    re.IGNORECASE,
)
# Code of another language that would start a program, when it is about Convex.
CODE = re.compile(
    r"spawn|exec|system|popen|subprocess|fork|npx|bunx|pnpm|yarn|\.bin/|bin/main|/cli\b|cli\.bundle", re.IGNORECASE
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A program that runs the program after it: options with a value, and operands of its own before that."""

    valued: frozenset[str] = frozenset()
    operands: int = 0


def _wrapper(valued: str = "", operands: int = 0) -> Wrapper:
    return Wrapper(_words(valued), operands)


WRAPPERS = {
    # Words of the shell itself, where its grammar takes them for a program: `! { A; }`, `time { A; }`.
    **dict.fromkeys(("{", "!", "if", "then", "elif", "else", "while", "until", "do"), Wrapper()),
    "env": _wrapper("-u --unset -C --chdir -S --split-string -P"),
    "timeout": _wrapper("-k --kill-after -s --signal", 1),
    "gtimeout": _wrapper("-k --kill-after -s --signal", 1),
    "nice": _wrapper("-n --adjustment"),
    "ionice": _wrapper("-c -n -p --class --classdata"),
    "nohup": _wrapper(),
    "time": _wrapper("-f -o --format --output"),
    "sudo": _wrapper("-u -g -p -C -h -D -R -T -U -r -t --user --group --prompt --chdir --host"),
    "doas": _wrapper("-u -C"),
    "exec": _wrapper("-a"),
    "command": _wrapper(),
    "builtin": _wrapper(),
    "coproc": _wrapper(),
    "noglob": _wrapper(),
    "nocorrect": _wrapper(),
    "stdbuf": _wrapper("-i -o -e --input --output --error"),
    "setsid": _wrapper(),
    "chronic": _wrapper(),
    "caffeinate": _wrapper("-t -w"),
    "unbuffer": _wrapper(),
    "taskset": _wrapper("", 1),
    "chrt": _wrapper("", 1),
    "flock": _wrapper("-w -E --timeout --conflict-exit-code", 1),
    "strace": _wrapper("-o -e -s -p -u -E"),
    "cross-env": _wrapper(),
    "busybox": _wrapper(),
    "corepack": _wrapper(),
    "xargs": _wrapper("-n -P -L -I -i -s -d -a -E --max-args --max-procs --max-lines --replace --delimiter --arg-file"),
}
# They look a program up and start none.
LOOKUPS = {"command": frozenset({"-v", "-V"}), "corepack": frozenset({"enable", "disable", "prepare", "use", "up"})}

SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh", "ash", "mksh", "fish", "rbash"})
SHELL_VALUED = frozenset({"-o", "-O", "+o", "+O", "--rcfile", "--init-file"})

# Programs for which all words are data: nothing among them is run.
DATA = _words(
    """
    [ ag ack basename bat cat cd chgrp chmod chown cksum cmp code column comm cp curl cut date df diff dirname
    du echo egrep export false fgrep file fold gate gh glab grep groups gunzip gzip head hexdump http id
    install jq kill killall less ln local locate look ls lsof man md5sum mkdir mktemp more mv nl open paste pgrep
    pidof pkill popd printf ps pwd read readlink realpath return rg rm rmdir sed seq set sha1sum sha256sum shasum shift
    sleep sort split stat strings tac tail tar tee test top touch tr tree true type typeset umask unalias uname uniq
    unset unzip wait wc wget whatis whereis which whoami xdg-open xxd yq zcat zip base64 bzip2 od rev
    readonly declare let getopts hash jobs fg bg disown exit break continue logger
    """
)
# Words of git that make it run a program.
GIT_RUNS = re.compile(r"bisect|foreach|filter-branch|-x|--exec(=.*)?|--tree-filter|alias\..*|core\.\w+=.*|difftool")

INTERPRETERS = {
    "node": frozenset({"-e", "--eval", "-p", "--print", "-pe"}),
    "nodejs": frozenset({"-e", "--eval", "-p", "--print", "-pe"}),
    "tsx": frozenset({"-e", "--eval"}),
    "ts-node": frozenset({"-e", "--eval", "-p"}),
    "python": frozenset({"-c"}),
    "python3": frozenset({"-c"}),
    "perl": frozenset({"-e", "-E", "-ne", "-pe"}),
    "ruby": frozenset({"-e"}),
    "php": frozenset({"-r"}),
    "osascript": frozenset({"-e"}),
}
INTERPRETER_VALUED = _words(
    """
    -r --require --import --loader --experimental-loader --env-file --env-file-if-exists -C --conditions --tsconfig
    -P -W -X -I -F -f --inspect-port --title
    """
)
# Of these the file to run has to be known: it may be the CLI's.
RUNS_JAVASCRIPT = frozenset({"node", "nodejs", "tsx", "ts-node", "bun", "deno"})

RUNNERS = frozenset({"npx", "bunx", "pnpx", "pnx"})
MANAGERS = frozenset({"npm", "pnpm", "yarn", "bun", "deno", "cnpm"})
STARTERS = RUNNERS | MANAGERS

# Options of package managers and runners that take a value.
MANAGER_VALUED = _words(
    """
    -C --dir --prefix --cwd -w --workspace -F --filter --filter-prod -p --package -c --call --registry --cache
    --userconfig --loglevel --reporter --workspace-root-dir --shell --node-arg -n --script-shell --config --preload
    -r --require --env-file --cache-min --cache-folder --modules-folder --mutex --network-timeout
    """
)
# Those of them that do nothing, with a value or none, in runners where their letters mean something else.
FLAGS = {
    "pnpm": frozenset({"-r", "-w", "-c", "-p", "-n"}),
    "yarn": frozenset({"-p", "-c", "-w", "-r", "-F", "-C"}),
    "bun": frozenset({"-p", "-w"}),
    "npm": frozenset({"-r", "-F"}),
}
MOVES = frozenset({"-C", "--dir", "--prefix", "--cwd"})
# Where the script that runs stands in a package.json that is not known.
ELSEWHERE = _words("-w --workspace --workspaces -ws -F --filter --filter-prod -r --recursive")

RUNS_SCRIPT = frozenset({"run", "run-script", "rum", "urn", "task"})
EXECUTES = frozenset({"exec", "x", "dlx"})
SHORT_SCRIPTS = {
    "start": "start",
    "test": "test",
    "t": "test",
    "tst": "test",
    "stop": "stop",
    "restart": "restart",
}
INSTALLS = _words("install i ci install-test it cit clean-install rebuild link pack publish")
INSTALL_SCRIPTS = ("preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare")
# Words of package managers that run nothing named on the line.
BUILT_IN = INSTALLS | _words(
    """
    add remove rm uninstall un update up upgrade outdated list ls ll la why info view show search audit dedupe config
    cache init create login logout whoami version versions help prune store root bin doctor unlink import patch
    licenses set get explain fund ping repo docs home bugs owner team access token profile star deprecate dist-tag
    pkg query sbom diff explore completion edit adduser env setup self-update fetch approve-builds
    """
)
# They run scripts of the package by name, or by a pattern.
SCRIPT_RUNNERS = frozenset({"npm-run-all", "npm-run-all2", "run-p", "run-s"})
