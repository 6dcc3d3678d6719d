"""What Convex calls a shell text would start: a table of phrasings, and properties held against a real bash."""

import base64
import os
import re
import shlex
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from gate.intent.mention import mentions
from gate.intent.shell import CONVEX, NONE, SERVER, UNCLEAR, Reading, read_shell
from gate.intent.shell_tables import UNKNOWN

SCRIPTS = {
    "dev": "convex dev",
    "both": "next dev & npm run dev",
    "lint": "eslint convex",
    "build": "next build",
    "predeploy": "convex deploy",
    "deploy": "echo done",
    "tool": "$TOOL convex",
    "loop": "npm run loop",
    "mcp": "convex mcp start",
    "many": "run-p 'dev' lint",
    "args": "convex run",
}
PACKAGES = {".": SCRIPTS, "web": {"ship": "npx convex deploy", "convex": "echo"}, "apps/a": {}}
ENCODED = base64.b64encode(b"npx convex dev --once").decode()

# The text, and what comes in its place.
REWRITTEN = {
    "npx convex dev": "gate convex dev",
    "npx convex": "gate convex",
    "npx convex@latest deploy -y": "gate convex deploy -y",
    "npx convex@1.48.0 --version": "gate convex --version",
    """npx --yes convex run messages:list '{"a": 1}'""": """gate convex run messages:list '{"a": 1}'""",
    "npx -y -q convex data": "gate convex data",
    "npx -p convex convex dev": "gate convex dev",
    "npx -p convex@1.48.0 -- convex dev": "gate convex dev",
    "npx --package=convex@latest convex dev": "gate convex dev",
    "npx -- convex dev": "gate convex dev",
    "npx convex -- dev": "gate convex -- dev",
    "npm exec convex -- dev --once": "gate convex dev --once",
    "npm exec -- convex dev --once": "gate convex dev --once",
    "npm x convex dev": "gate convex dev",
    "pnpm dlx convex dev": "gate convex dev",
    "pnpm exec convex dev": "gate convex dev",
    "pnpm convex dev": "gate convex dev",
    "yarn convex dev": "gate convex dev",
    "yarn run convex dev": "gate convex dev",
    "yarn dlx convex@latest dev": "gate convex dev",
    "bunx convex dev": "gate convex dev",
    "bunx --bun convex dev": "gate convex dev",
    "bun x convex dev": "gate convex dev",
    "bun run convex dev": "gate convex dev",
    "node_modules/.bin/convex dev": "gate convex dev",
    "./node_modules/.bin/convex dev": "gate convex dev",
    "convex dev": "gate convex dev",
    "cd app && npx convex dev --once": "cd app && gate convex dev --once",
    'cd "my app" && npx convex dev': 'cd "my app" && gate convex dev',
    "npx convex data > out.txt 2>&1": "gate convex data > out.txt 2>&1",
    "cd app && npx convex data messages 2>/dev/null": "cd app && gate convex data messages 2>/dev/null",
    "npx convex env set A < value": "gate convex env set A < value",
    "npx convex env set <<EOF\nA=b\nEOF\n": "gate convex env set <<EOF\nA=b\nEOF\n",
    "npx convex env set <<< 'A=b'": "gate convex env set <<< 'A=b'",
    "npx convex dev &": "gate convex dev &",
    "npx convex dev # for a while": "gate convex dev # for a while",
    "npx convex dev;": "gate convex dev;",
    "  npx   convex   dev ": "  gate convex   dev ",
    "'npx' \"convex\" dev": "gate convex dev",
    'npx con"vex" d\\ev': "gate convex d\\ev",
    "npx $'\\x63onvex' dev": "gate convex dev",
    "npx \\\n  convex \\\n  dev": "gate convex \\\n  dev",
    "npx convex run f 'é $X `y`'": "gate convex run f 'é $X `y`'",
    "npx convex deploy --cmd 'npm run build'": "gate convex deploy --cmd 'npm run build'",
    "2>&1 npx convex dev": "2>&1 gate convex dev",
}
# The text, and the words of the first call in it.
REFUSED = {
    "npm exec convex dev --once": "dev",
    "npm exec -c 'convex dev'": "dev",
    "npx -c 'convex dev'": "dev",
    "npx --call='npx convex dev'": "dev",
    "bun convex dev": "dev",
    "bun node_modules/convex/bin/main.js dev": "dev",
    "pnpm -r exec convex dev": "dev",
    "pnpm exec -c 'convex dev'": "dev",
    "pnpm --filter web convex dev": "dev",
    "pnpm -C apps/a convex dev": "dev",
    "yarn workspace web convex dev": "dev",
    "yarn --cwd apps/a convex dev": "dev",
    "deno run -A npm:convex@latest dev": "dev",
    "deno run node_modules/convex/bin/main.js dev": "dev",
    "corepack pnpm exec convex dev": "dev",
    "corepack pnpm@9 dlx convex dev": "dev",
    "npx github:get-convex/convex-js dev": "dev",
    "npx foo@npm:convex dev": "dev",
    "npx ./node_modules/convex dev": "dev",
    "npx.cmd convex dev": "dev",
    "NPX convex dev": "dev",
    "/usr/bin/npx convex dev": None,
    "/abs/node_modules/.bin/convex dev": "dev",
    "../node_modules/.bin/convex dev": "dev",
    "node node_modules/convex/bin/main.js dev": "dev",
    "node --no-warnings -r x ./node_modules/.bin/convex dev": "dev",
    "node /a/node_modules/.pnpm/convex@1.48.0/node_modules/convex/bin/main.js dev": "dev",
    "./node_modules/convex/bin/main.js dev": "dev",
    "node node_modules/convex/dist/cli.bundle.cjs dev": "dev",
    "cd node_modules/convex && node bin/main.js dev": "dev",
    "cd node_modules/.bin && ./convex dev": "dev",
    "npx tsx node_modules/convex/bin/main.js dev": "dev",
    "X=1 npx convex dev": "dev",
    "CONVEX_DEPLOY_KEY=prod:a npx convex deploy": "deploy",
    "env X=1 npx convex dev": "dev",
    "env -u A -i X=1 timeout 5 npx convex dev": "dev",
    "env -S 'npx convex' dev": "dev",
    "timeout -s KILL 5 npx convex dev": "dev",
    "nice -n 5 nohup time sudo -u x npx convex dev": "dev",
    "xargs npx convex run < names": "run",
    "ls | xargs -I{} npx convex run {}": "run",
    "ls | xargs -n1 bash -c 'npx convex run \"$0\"'": "run",
    "bash -lc 'npx convex dev'": "dev",
    """sh -c "bash -c 'npx convex dev'" """: "dev",
    "bash -c 'npx $0 dev' convex": "dev",
    "bash -c 'npx \"$@\"' _ convex dev": "dev",
    "bash -o pipefail -c 'npx convex dev'": "dev",
    "zsh -ic 'convex dev'": "dev",
    "(npx convex dev)": "dev",
    "{ npx convex dev; }": "dev",
    "npx convex data | head": "data",
    "true && npx convex dev || false": "dev",
    "npx convex codegen && npx tsc": "codegen",
    "! npx convex dev": "dev",
    "time npx convex dev": "dev",
    "echo $(npx convex data)": "data",
    "echo `npx convex data`": "data",
    'echo "${X:-$(npx convex data)}"': "data",
    "diff <(npx convex data) x": "data",
    "tee >(npx convex import x)": "import",
    "X=$(npx convex data)": "data",
    "if test -d x; then npx convex dev; fi": "dev",
    "while npx convex data; do sleep 1; done": "data",
    "case x in y) npx convex dev;; esac": "dev",
    "bash <<EOF\nnpx convex dev\nEOF\n": "dev",
    "bash -s <<'EOF'\nnpx convex dev\nEOF\n": "dev",
    "bash <<< 'npx convex dev'": "dev",
    "cat <<EOF | bash\nnpx convex dev\nEOF\n": "dev",
    "{ bash; } <<EOF\nnpx convex dev\nEOF\n": "dev",
    "ssh host bash <<EOF\nnpx convex dev\nEOF\n": "dev",
    "cat <<EOF\n$(npx convex data)\nEOF\n": "data",
    "cat <<EOF && npx convex dev\nx\nEOF\n": "dev",
    "echo 'npx convex dev' | sh": "dev",
    "printf 'npx convex dev' | sudo bash": "dev",
    "eval 'npx convex dev'": "dev",
    "eval npx convex dev": "dev",
    "trap 'npx convex dev' EXIT": "dev",
    "exec npx convex dev": "dev",
    "coproc npx convex dev": "dev",
    "command npx convex dev": "dev",
    "watch -n 2 npx convex data": "data",
    'f() { npx "$@"; }; f convex dev': "dev",
    "f() { npx convex $1; }; f dev": None,
    'alias c="npx convex"; c dev': "",
    "alias n=npx; n convex dev": "dev",
    "X=convex; npx $X dev": "dev",
    "X='npx convex dev'; $X": "dev",
    "A=con; B=vex; npx $A${B} dev": "dev",
    "A=con; A+=vex; npx $A dev": "dev",
    "npx ${X:-convex} dev": "dev",
    "if a; then X=convex; else X=eslint; fi; npx $X dev": "dev",
    "for x in eslint convex; do npx $x dev; done": "dev",
    'a=(npx convex dev); "${a[@]}"': "dev",
    "export X=convex; npx $X dev": "dev",
    "npx {convex,dev}": "dev",
    "npx $X$'con'vex dev; X=": "dev",
    '"$(npm bin)/convex" dev': "dev",
    "$ROOT/node_modules/.bin/convex dev": "dev",
    "$RUN convex dev": "dev",
    'npx convex run x "$(cat f)"': "run",
    "npx convex run x $Y": "run",
    "npx convex import *.zip": "import",
    "npm run dev": "dev",
    "npm run both": "dev",
    "npm run deploy": "deploy",
    "npm run many": "dev",
    "npm run args -- a:b": "run",
    "yarn dev": "dev",
    "pnpm run dev": "dev",
    "bun dev": "dev",
    "node --run dev": "dev",
    "deno task dev": "dev",
    "run-p d* build": "dev",
    "concurrently 'npm:dev' vite": "dev",
    "npx concurrently -n a,b 'convex dev' 'vite'": "dev",
    "npm --prefix web run ship": "deploy",
    "cd web && npm run ship": "deploy",
    "(cd web; npm run ship)": "deploy",
    "cd web && yarn convex dev; yarn dlx convex dev": "dev",
    "find . -name x -exec npx convex run {} \\;": "run",
    "docker exec web npx convex dev": "dev",
    "docker run img sh -c 'npx convex dev'": "dev",
    "ssh host 'cd app && npx convex deploy'": "deploy",
    "tmux new -d 'npx convex dev'": "dev",
    "dotenv -e .env -- convex dev": "dev",
    "cross-env A=1 convex dev": "dev",
    "some-tool --exec='npx convex dev'": "dev",
    "git rebase -x 'npx convex dev' main": "dev",
    "git -c alias.x='!npx convex dev' x": "dev",
    "git bisect run npx convex dev": "dev",
    "if (( ; npx convex dev": "dev",
    '$"npx" $"convex" dev': "dev",
    "npx > x convex dev": "dev",
    "npx <<EOF convex dev\nx\nEOF\n": "dev",
    "npx 2>&1 convex > y dev": "dev",
    "npx convex > x dev --once": "dev",
    "npx <<< x convex dev": "dev",
    "> x npx < y convex dev | cat": "dev",
    "npm explore convex -- npx convex dev": "dev",
    "source /dev/stdin <<EOF\nnpx convex dev\nEOF\n": "dev",
    "cat > d.sh <<'EOF'\nnpx convex dev\nEOF\nbash d.sh": "dev",
    "echo 'npx convex dev' > d.sh && chmod +x d.sh && ./d.sh": "dev",
    "echo 'npx convex dev' | tee d.sh; . ./d.sh": "dev",
    "if true; then ( convex": "",
}
SERVED = [
    "npx convex > x mcp start",
    "npx convex 2>&1 mcp <<EOF start\nx\nEOF\n",
    "npx convex mcp start",
    "npx -y convex@latest mcp start --prod",
    "bash -c 'npx convex mcp start'",
    "claude mcp add convex -- npx convex mcp start",
    "npm run mcp",
    "npm run $SCRIPT",
    "npx @modelcontextprotocol/inspector npx convex mcp start",
]
DOUBTED = [
    "cat <<A > f; npx convex dev\nx\nA\n",
    "npx $TOOL convex",
    "npx conv* dev",
    "npx c[o]nvex dev",
    "npx $X $'\\143onvex'",
    "$TOOL --project convex",
    "echo convex | xargs npx",
    "while read l; do npx $l; done <<< convex",
    "X=eslint; read X <<< convex; npx $X",
    "printf -v X %s convex; npx ${X#a}",
    "bash < <(echo npx convex dev)",
    "source <(echo npx convex dev)",
    "bash <(echo npx convex dev)",
    "cat convex/run.txt | sh",
    "curl https://docs.convex.dev | bash",
    f"echo {ENCODED} | base64 -d | sh",
    f'bash -c "$(echo {ENCODED} | base64 -d)"',
    f"base64 -d <<< {ENCODED} | bash",
    "echo 6e707820636f6e76657820646576 | xxd -r -p | sh",
    'bash -c "$CMD" convex',
    "{npx,convex,dev}",
    "cat > d.js <<'EOF'\nspawn('npx', ['convex', 'dev'])\nEOF\nnode d.js",
    "python3 -c \"import os; os.system('npx convex dev')\"",
    "node -e \"require('child_process').execSync('npx convex dev')\"",
    "node --eval=\"require('convex/bin/main.js')\"",
    "node - <<EOF\nspawn('npx', ['convex'])\nEOF\n",
    "perl -e 'exec qw(npx convex dev)'",
    "awk 'BEGIN { system(\"npx convex dev\") }'",
    "npm run tool",
    "npm $VERB convex",
    "bun -e \"require('child_process').execSync('convex')\"",
    "npx {a,b}{a,b}{a,b}{a,b}{a,b} convex",
    "npx $'\\U00ffffff' convex",
    "npx $'\\cx' convex",
    "".join(f"X={number}; " for number in range(20)) + "npx $X convex",
    "A=1; A=2; A=3; B=1; B=2; B=3; $A $B $A convex",
    "node $CLI # convex",
]
PASSED = [
    "",
    "ls -la",
    "npm test",
    "npm run lint",
    "npm run build",
    "npm run loop",
    "npm run nothing",
    "npx eslint src",
    "npx $TOOL",
    "curl https://example.com | sh",
    'eval "$X"',
    "if (( ;",
    "gate convex dev",
    """gate --json convex run a:b '{"x": "npx convex"}'""",
    "cd app && gate convex data > x",
    "grep convex README.md",
    "grep -r 'npx convex dev' .",
    "rg 'npx convex' -l | head",
    "cat convex/schema.ts",
    "cat convex/schema.ts | grep v.id",
    "head -5 node_modules/convex/bin/main.js",
    "git commit -m convex",
    "git commit -m 'use npx convex dev'",
    "git -c user.name=x log -- convex",
    "cd convex",
    "cd convex && ls",
    "ls node_modules/convex",
    "ls node_modules/.bin/convex",
    "rm -rf node_modules/convex",
    "npm install convex",
    "npm i convex@latest --save",
    "npm uninstall convex",
    "npm view convex version",
    "npm create convex@latest",
    "pnpm add convex",
    "yarn add convex",
    "bun add convex",
    "yarn why convex",
    "npx eslint convex/",
    "npx tsc -p convex",
    "npx tsc --noEmit -p convex/tsconfig.json 2>&1 | tail -5",
    "npx vitest run convex/foo.test.ts",
    "npx convex-helpers ts-api-spec",
    "npx prettier --write 'convex/**/*.ts'",
    "for f in convex/*.ts; do npx eslint $f; done",
    "find convex -name '*.ts' | xargs grep query",
    "echo CONVEX_DEPLOY_KEY=prod:x >> .env.local",
    "export CONVEX_DEPLOYMENT=prod:x",
    "echo 'npx convex dev' > notes.md",
    "cat > README.md <<'EOF'\nRun `npx convex dev` first.\nEOF\n",
    "cat > README.md <<'EOF'\nRun npx convex dev first.\nEOF\nbash build.sh",
    "which convex",
    "command -v convex",
    "make convex",
    "bash scripts/convex.sh",
    "python script.py convex",
    "node -e \"console.log(require('convex/package.json').version)\"",
    "node -p process.version",
    "awk '/convex/ {print $1}' f",
    "sed -i 's/npx convex/gate convex/' package.json",
    "kill $(pgrep -f 'convex dev')",
    "pkill -f 'npx convex dev'",
    "[ -f convex.json ] && echo yes",
    "[[ $x == convex ]] && echo yes",
    "test -d convex || mkdir convex",
    "gh pr create --title 'npx convex dev fails' --body x",
    "docker ps | grep convex",
    "open https://convex.dev",
    "cd web && npm run convex",
    "cd apps/a && npm ci",
    "npm ci --ignore-scripts",
    "# npx convex dev",
    "concurrently 'npm:lint' vite",
    "deno run main.ts convex",
]


def read(text: str) -> Reading:
    return read_shell(text, PACKAGES)


def test_the_table_is_long() -> None:
    """A rule that no phrasing stands for is a guess."""
    assert len(REWRITTEN) + len(REFUSED) + len(SERVED) + len(DOUBTED) + len(PASSED) >= 250


@pytest.mark.parametrize(("text", "expected"), REWRITTEN.items())
def test_a_plain_call_is_rewritten_and_the_rest_kept(text: str, expected: str) -> None:
    """Byte for byte; what comes out is no call around the gate any more, and still a shell text."""
    reading = read(text)
    assert (reading.kind, reading.rewritten) == (CONVEX, expected)
    assert read(expected).kind == NONE
    assert subprocess.run(["bash", "-n"], input=expected.encode(), capture_output=True, check=True).stderr == b""


@pytest.mark.parametrize(("text", "first"), REFUSED.items())
def test_a_call_in_any_other_form_is_found(text: str, first: str | None) -> None:
    """And read: its first word is known where the text says it."""
    reading = read(text)
    assert (reading.kind, reading.rewritten if first is not None else None) == (CONVEX, None)
    assert first is None or first in [" ".join(call.words[:1]) for call in reading.calls]


@pytest.mark.parametrize("text", SERVED)
def test_the_server_is_told_apart(text: str) -> None:
    """It is never rewritten: the gate has one of its own."""
    reading = read(text)
    assert (reading.kind, reading.rewritten) == (SERVER, None)


@pytest.mark.parametrize("text", DOUBTED)
def test_a_mention_that_is_not_understood_is_in_doubt(text: str) -> None:
    """With a reason."""
    reading = read(text)
    assert reading.kind == UNCLEAR
    assert reading.why


@pytest.mark.parametrize("text", PASSED)
def test_everything_else_passes(text: str) -> None:
    """Also what only speaks of Convex."""
    assert read(text) == Reading(NONE, wanted=read(text).wanted)


def test_a_bare_path_to_the_runner_is_kept() -> None:
    """It is not one of the plain runners: which program it is, the path says and nobody checks."""
    assert read("/usr/bin/npx convex dev").rewritten is None


def test_folders_are_asked_for() -> None:
    """Where a script would be read from a package.json that is not known."""
    assert read_shell("cd a && cd ../b && npm run x", {}).wanted == {"b"}
    assert read_shell("npm -C /srv/x test; pnpm dev; cd ~/y; yarn", {}).wanted == {"/srv/x", ".", "~/y"}
    assert read_shell("cd $X && npm run x", {}).wanted == frozenset()
    assert read_shell("npm run x -w web", {}).wanted == frozenset()


def test_installing_runs_what_the_package_says() -> None:
    """Its own scripts, and only where no package is named."""
    packages = {".": {"postinstall": "convex codegen"}}
    assert read_shell("npm ci", packages).kind == CONVEX
    assert read_shell("yarn", packages).kind == CONVEX
    assert read_shell("pnpm install", packages).kind == CONVEX
    assert read_shell("npm install left-pad", packages).kind == NONE
    assert read_shell("npm ci --ignore-scripts", packages).kind == NONE
    assert read_shell("yarn install --ignore-scripts", packages).kind == NONE


def test_a_script_of_that_name_goes_first() -> None:
    """`yarn convex` is the package's own word then."""
    packages = {".": {"convex": "convex --url x"}}
    for text in ("yarn convex dev", "pnpm convex dev", "bun run convex dev"):
        reading = read_shell(text, packages)
        assert (reading.kind, reading.rewritten) == (CONVEX, None)
    assert read_shell("npx convex dev", packages).rewritten == "gate convex dev"


def test_output_to_a_file_is_noted() -> None:
    """Some agents take a new input for leave to do the rest too."""
    writing = ("npx convex data > x", "npx convex data &> x", "npx convex data 2>> x", "cd a && npx convex data >| x")
    others = ("npx convex data", "npx convex data 2>&1", "npx convex data > /dev/null", "npx convex import x < y")
    assert all(read(text).writes for text in writing)
    assert not any(read(text).writes for text in others)


# --- spellings ---


@pytest.mark.parametrize(
    "text",
    [
        "convex",
        "CONVEX",
        "con''vex",
        'con"vex',
        "con\\vex",
        "con\\\nvex",
        "\\x63onvex",
        "\\143onvex",
        "\\u0063onvex",
        "con$@vex",
        "con${x}vex",
        "con``vex",
        "conv*",
        "c[o]nvex",
        "c?nvex",
        "con[!a]ex",
        ENCODED,
        base64.urlsafe_b64encode(b"~~?convex").decode(),
        "636f6e766578",
    ],
)
def test_a_mention_in_any_spelling(text: str) -> None:
    """That a shell undoes."""
    assert mentions(f"x {text} y")


@pytest.mark.parametrize("text", ["", "converse", "con vex", "c*", "***", "[z-a]onvex", "conv[", "a" * 60 + "*"])
def test_no_mention(text: str) -> None:
    """The check above is none if everything is one."""
    assert not mentions(text)


# --- properties ---

_CALL = "npx convex dev --once"
_WRAPPED = {
    "bash -c": lambda text: f"bash -c {shlex.quote(text)}",
    "bash -ec": lambda text: f"bash -ec {shlex.quote(text)}",
    "eval": lambda text: f"eval {shlex.quote(text)}",
    "subshell": lambda text: f"( {text}\n)",
    "group": lambda text: f"{{ {text}\n}}",
    "substitution": lambda text: f'echo "$( {text}\n)"',
    "process": lambda text: f"cat <({text}\n)",
    "pipeline": lambda text: f"{{ {text}\n}} | cat",
    "into cat": lambda text: f"true | {{ {text}\n}}",
    "and": lambda text: f"true && {{ {text}\n}}",
    "or": lambda text: f"false || {{ {text}\n}}",
    "if": lambda text: f"if true; then\n{text}\nfi",
    "for": lambda text: f"for i in 1; do\n{text}\ndone",
    "while": lambda text: f"while {{ {text}\n}}; do break; done",
    "case": lambda text: f"case a in a)\n{text}\n;; esac",
    "not": lambda text: f"! {{ {text}\n}}",
    "function": lambda text: f"go() {{\n{text}\n}}\ngo",
    "trap": lambda text: f"bash -c {shlex.quote(f'trap {shlex.quote(text)} EXIT')}",
    "timeout": lambda text: f"timeout -k 1 9 bash -c {shlex.quote(text)}",
    "env": lambda text: f"env A=1 bash -c {shlex.quote(text)}",
    "nice": lambda text: f"nice -n 1 nohup bash -c {shlex.quote(text)}",
    "command": lambda text: f"command bash -c {shlex.quote(text)}",
    "xargs": lambda text: f"echo a | xargs -n 1 bash -c {shlex.quote(text)}",
    "here-string": lambda text: f"bash <<< {shlex.quote(text)}",
    "heredoc": lambda text: f"bash <<'END{len(text)}'\n{text}\nEND{len(text)}",
    "piped": lambda text: f"printf %s {shlex.quote(text)} | bash",
    "find": lambda text: f"find . -maxdepth 0 -exec bash -c {shlex.quote(text)} \\;",
    "variable": lambda text: f'T{len(text)}={shlex.quote(text)}\nbash -c "$T{len(text)}"',
    "file": lambda text: f"cat > f{len(text)}.sh <<'END{len(text)}'\n{text}\nEND{len(text)}\nbash f{len(text)}.sh",
}
_SPELLED = [
    _CALL,
    "npx 'con'vex dev --once",
    "n\\px con\\vex dev --once",
    'X=convex; npx "$X" dev --once',
    "A=np; B=vex; ${A}x con$B dev --once",
    "npx $'con\\x76ex' dev --once",
    "pnpm exec convex dev --once",
    "node_modules/.bin/convex dev --once",
    "node node_modules/convex/bin/main.js dev --once",
]
_texts = st.tuples(st.sampled_from(_SPELLED), st.lists(st.sampled_from(sorted(_WRAPPED)), max_size=4)).map(
    lambda drawn: _wrap(*drawn)
)


def _wrap(text: str, names: list[str]) -> str:
    for name in names:
        text = _WRAPPED[name](text)
    return text


@settings(max_examples=200, deadline=None)
@given(_texts)
def test_no_nesting_hides_a_call(text: str) -> None:
    """Whatever it is wrapped in, and however it is spelled."""
    assert read_shell(text, {".": {}}).kind != NONE


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from([*"npxconvex $'\"\\`(){};&|<>\n=[]*#!\0", "convex "]), max_size=80).map("".join)
)
def test_nothing_makes_it_raise(text: str) -> None:
    """And what is rewritten only differs where the runner stood."""
    reading = read(text)
    assert (reading.why is not None) == (reading.kind == UNCLEAR)
    if reading.rewritten is not None:
        assert "gate convex" in reading.rewritten
        assert len(reading.calls) == 1


@pytest.mark.parametrize(
    "unit",
    ["a|", "a=(", "<<A\n", "\0", "`<", "npx -- ", "f(){ f;f;};", "X=$X$X;", "\ud800"],
)
def test_no_text_takes_long(unit: str) -> None:
    """Neither the parser nor the walk; and what they left out is in doubt."""
    text = (unit * 60_000)[:60_000]
    began = time.monotonic()
    assert read(text).kind == NONE
    assert read(f"{text} npx convex dev").kind != NONE
    assert time.monotonic() - began < 8


def test_a_text_beyond_the_limit_is_in_doubt_where_it_names_convex() -> None:
    """And passes where it does not."""
    assert read("#" + "a" * 70_000).kind == NONE
    assert read("#" + "a" * 70_000 + " convex").kind == UNCLEAR


def test_deep_expansions_do_not_end_it() -> None:
    """They nest without nesting commands."""
    deep = "${a:-" * 3000 + "x" + "}" * 3000
    assert read(f"npx {deep}").kind == NONE
    assert read(f"npx {deep} convex").kind == UNCLEAR


# --- against a real bash ---

_FAKE = """#!/bin/bash
name=${0##*/}
if [ "$name" = convex ]; then found=1; else
  while :; do
    case "$1" in -p) shift 2;; exec|x|dlx|run|-*) shift;; *) break;; esac
  done
  case "$1" in convex|convex@*|*/convex/bin/main.js) found=1; shift;; esac
fi
[ "$name" = npm ] && [ "$1" = -- ] && shift
[ -n "$found" ] && printf '%s\\0' "$@" >> "$LOG"
exit 0
"""
_GATE = """#!/bin/bash
shift
printf '%s\\0' "$@" >> "$LOG"
"""


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runners that only write down what reaches Convex."""
    folder = tmp_path_factory.mktemp("fakes")
    (folder / "app").mkdir()
    (folder / "my app").mkdir()
    (folder / "value").write_text("")
    for name in ("npx", "npm", "pnpm", "yarn", "bun", "bunx", "node", "convex", "gate"):
        _program(folder / "bin" / name, _GATE if name == "gate" else _FAKE)
    for place in (folder, folder / "app"):
        _program(place / "node_modules" / ".bin" / "convex", _FAKE)
    return folder


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _run(fakes: Path, text: str) -> list[bytes] | None:
    """What reached Convex when bash ran `text`; None where nothing did."""
    log = fakes / "log"
    log.unlink(missing_ok=True)
    env = {"PATH": f"{fakes / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin", "LOG": str(log), "HOME": str(fakes)}
    command = ["bash", "--norc", "-c", text]
    subprocess.run(command, cwd=fakes, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=20)
    return log.read_bytes().split(b"\0")[:-1] if log.exists() else None


@pytest.mark.parametrize("text", [text for text in REWRITTEN if "$'\\x63" not in text])
def test_the_rewritten_text_says_the_same(fakes: Path, text: str) -> None:
    """The gate is given the words that the CLI would have been given."""
    rewritten = read(text).rewritten
    assert rewritten is not None
    before = _run(fakes, text)
    assert before is not None
    assert _run(fakes, rewritten) == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=_texts)
def test_the_wrapped_texts_do_start_the_cli(fakes: Path, text: str) -> None:
    """Else the property above is about nothing."""
    assert _run(fakes, text) is not None


_PIECES = [
    "npx",
    "convex",
    "dev",
    "con",
    "vex",
    "$X",
    "$Y",
    '"$X"',
    "'",
    '"',
    "X=convex",
    "Y=npx",
    ";",
    "&&",
    "|",
    "\n",
    "echo",
    "bash -c",
    "eval",
    "$(",
    ")",
    "(",
    "{",
    "}",
    "if true; then",
    "fi",
    "\\",
    "--",
    "npm exec",
    "xargs",
    "<<<",
    "bash",
    "f()",
    "f",
    "env",
    "for X in convex; do",
    "done",
    "#",
    "cat",
    "-c",
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(st.sampled_from(_PIECES), min_size=2, max_size=12).map(" ".join))
def test_what_bash_starts_is_found(fakes: Path, text: str) -> None:
    """Also in texts that nobody would write."""
    if _run(fakes, text) is not None:
        assert read_shell(text, {".": {}}).kind != NONE


def test_unknown_words_stay_marked() -> None:
    """So that nobody takes a part for the whole."""
    assert read("npx convex run $X").calls[0].words == ("run", UNKNOWN)
    assert re.search("[\ufdd1-\ufdd4]", repr(read("npx convex run {a,b} '{c}' {\"d\":1}").calls)) is None


def _each(readings: Iterator[Reading]) -> set[str]:
    return {reading.kind for reading in readings}


def test_every_member_of_a_family_behaves_alike() -> None:
    """Wrappers, shells and runners of the tables, each by name."""
    wrappers = (
        "nice",
        "nohup",
        "time",
        "sudo",
        "doas",
        "exec",
        "stdbuf -oL",
        "setsid",
        "chronic",
        "busybox",
        "flock x",
    )
    assert _each(read(f"{name} npx convex dev") for name in wrappers) == {CONVEX}
    assert _each(read(f"{name} -c 'npx convex dev'") for name in ("sh", "bash", "zsh", "dash", "ksh", "fish")) == {
        CONVEX
    }
    assert _each(read(f"{name} convex dev") for name in ("npx", "bunx", "pnpx", "pnpm dlx", "yarn dlx", "bun x")) == {
        CONVEX
    }
