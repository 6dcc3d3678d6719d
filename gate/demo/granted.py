"""The demo's steps on production: asked for, signed by somebody else, narrow, cut. Every step is tried for real."""

import json
import shlex
from collections.abc import Iterator

from gate.demo.forgery import forge_grant
from gate.demo.stage import HOSTILE_CLI, PROD, PROD_KEY, Came, Stage
from gate.demo.step import Step, is_secret_in, last_line, latency_ms, reached, stopped
from gate.errors import EXITS

_LIST = ("convex", "run", "messages:list", "--prod")
_LISTED = "gate convex run messages:list --prod"
_ROW = "hello from production"
# What the agent fills in where the refusal's line leaves a blank.
_FIELDS = {"<ticket>": "OPS-411", "<reason>": "users see stale messages"}
# The budget of the cut (docs/threat-model.md): no access is left then.
_CUT_MS = 1000

_PEEKING_CLI = """\
console.log(JSON.stringify({argv: process.argv, env: process.env}));
console.log("argv:", ...process.argv.slice(2));
console.log("env: ", ...Object.keys(process.env).filter((name) => process.env[name] !== "").sort());
console.log("key: ", process.env.CONVEX_DEPLOY_KEY);
"""


def steps(made: Stage, refused: Came) -> Iterator[Step]:
    """Everything from the request to the cut. `refused`: what the agent's call on production came back with."""
    made.prod.app.insert("messages", {"body": _ROW})
    asked = _asks(made, refused)
    yield asked
    request = asked.came.out.strip()
    yield from _wrong_hands(made, request)
    approved = _approves(made, request)
    yield approved
    if asked.held and approved.held:
        grant = approved.came.out.strip()
        yield from _uses(made)
        yield from _oversteps(made)
        yield from _is_cut(made, grant)
        again = _asks_again(made)
        yield again
        if again.held:
            yield from _forges(made, again.came)


def _asks(made: Stage, refused: Came) -> Step:
    words = _pasted(refused)
    tried = "The agent asks: the line of the refusal, with a ticket and a reason."
    came = made.gate(*words)
    return Step(tried, shlex.join(["gate", *words]), came, came.code == 0 and came.out.startswith("req-"))


def _wrong_hands(made: Stage, request: str) -> Iterator[Step]:
    for name, tried, code in (
        ("ada", "The agent's owner, whose key an agent may reach, approves: refused.", "self_approval"),
        ("mallory", "A key that nobody listed approves: refused.", "not_a_signer"),
    ):
        seen = len(made.prod.requests)
        came = made.gate("approve", request, "--key", str(made.key(name)))
        shown = Came(came.code, came.out, last_line(came))
        yield stopped(made, tried, f"gate approve {request} --key {name}", shown, code, seen=seen)


def _approves(made: Stage, request: str) -> Step:
    came = made.gate("approve", request, "--key", str(made.key("lee")))
    held = came.code == 0 and came.out.startswith("grt-")
    tried = "lee, whom the rules ask, reads and signs: a grant."
    return Step(tried, f"gate approve {request} --key lee", Came(came.code, came.out, "" if held else came.err), held)


def _uses(made: Stage) -> Iterator[Step]:
    seen = len(made.prod.requests)
    came = made.gate(*_LIST)
    held = came.code == 0 and _ROW in came.out and made.prod.keys() == {PROD_KEY}
    shown = Came(came.code, came.out, came.err + reached(made, seen))
    yield Step("The call goes through; what reaches production carries the real key.", _LISTED, shown, held)
    came = made.gate(*_LIST[:-1], cwd=made.forge("peeking", _PEEKING_CLI, f"prod:{PROD}"))
    held = came.code == 0 and "env: " in came.out and not is_secret_in(came.out + came.err)
    tried = "A Convex CLI that prints its arguments and environment: a lease's token, no key."
    yield Step(tried, f"{_LISTED}   # forged", came, held)


def _oversteps(made: Stage) -> Iterator[Step]:
    seen = len(made.prod.requests)
    came = made.gate("convex", "data", "users", "--prod")
    tried = "A second call, outside of what lee signed: refused."
    yield stopped(made, tried, "gate convex data users --prod", came, "grant_required", seen=seen)
    came = made.gate(*_LIST[:-1], cwd=made.forge("writing", HOSTILE_CLI, f"prod:{PROD}"))
    wrote = "addDocument" in json.dumps([one.body for one in made.prod.requests[seen:]])
    held = came.code == 0 and "status 560" in came.out and not wrote
    yield Step("A forged Convex CLI writes with its lease of a query: refused.", f"{_LISTED}   # forged", came, held)


def _is_cut(made: Stage, grant: str) -> Iterator[Step]:
    call = made.begin(*_LIST, "--watch")
    shows = call.shows(_ROW)
    revoked = made.gate("revoke", grant, "--reason", "the wrong table", "--key", str(made.key("lee")))
    came = call.ended()
    held = (shows, revoked.code, came.code) == (True, 0, EXITS["cut"])
    command = f"gate convex run messages:list --watch --prod & gate revoke {grant} --reason '...' --key lee"
    yield Step("lee revokes it while the agent watches: cut.", command, came, held)
    came = made.gate("--json", "show", grant)
    latency = latency_ms(came)
    shown = Came(came.code, f"no access was left {latency} ms after the revocation, as a probe showed\n", came.err)
    held = latency is not None and latency <= _CUT_MS
    yield Step("How long it took is on record.", f"gate --json show {grant}", shown, held)


def _asks_again(made: Stage) -> Step:
    seen = len(made.prod.requests)
    return stopped(made, "The same call again: refused.", _LISTED, made.gate(*_LIST), "grant_required", seen=seen)


def _forges(made: Stage, refused: Came) -> Iterator[Step]:
    """On a copy of the state, so that this ledger stays as it is. `refused`: a call that has to be asked for again."""
    asked = made.gate(*_pasted(refused))
    with made.copied() as copy:
        forge_grant(copy.ledger, asked.out.strip(), "human:lee", copy.key("mallory"))
        seen = len(copy.prod.requests)
        tried = "In a copy of the ledger, lee's approval and a grant are forged, each linked as it should be: refused."
        command = f"GATE_HOME=copy {_LISTED}"
        yield stopped(copy, tried, command, copy.gate(*_LIST), "ledger_tampered", seen=seen)
        came = copy.gate("audit", "verify", str(copy.ledger))
        yield Step(
            "Whoever verifies that copy finds it.", "gate audit verify copy/demo/ledger.db", came, came.code == 1
        )


def _pasted(refused: Came) -> list[str]:
    """The words of the line that a refusal ends with, behind `gate`; the blanks filled in."""
    line = next((line for line in map(str.strip, refused.err.splitlines()) if line.startswith("gate request")), "")
    return [_FIELDS.get(word, word) for word in shlex.split(line)[1:]]
