"""What `gate demo` plays: each step is tried for real, and it says what was tried, what came back, how to repeat it."""

import json
import time
from collections.abc import Callable, Iterator

from gate.demo import granted, tools
from gate.demo.stage import CAST, DEV_KEY, PROD, PROD_KEY, Came, Stage, stage
from gate.demo.step import Step, is_secret_in, stopped

Say = Callable[[str], None]

# The rules that are shipped want a touch of a security key, which the demo does not have.
_APPROVALS = "not: [requester, owner]"
_WITHOUT_TOUCH = f"{_APPROVALS}, touch: false"


def play(say: Say) -> int:
    """Play every step; returns 0, or 1 when one did not come out. Raises GateError when the machine lacks a tool."""
    started = time.monotonic()
    tools.insist_on_tools()
    say(f"Getting the real Convex CLI {tools.CONVEX} (npm, no install scripts) ...")
    node_modules = tools.node_modules()
    failed = 0
    with stage(node_modules, CAST) as made:
        for number, step in enumerate(_steps(made), 1):
            _tell(say, number, step)
            failed += not step.held
        if failed:
            _tell_why(say, made)
    verdict = f"{failed} steps did NOT come out" if failed else "Every step came out"
    say(f"\n{verdict}, {time.monotonic() - started:.0f} s.")
    say("Next: `gate init` in a project of your own.")
    return 1 if failed else 0


def _tell(say: Say, number: int, step: Step) -> None:
    say(f"\n{number}. {step.tried}")
    say(f"   $ {step.command}")
    lines = [line for line in (step.came.out + step.came.err).splitlines() if line.strip()]
    for line in lines[-4:]:
        say(f"   {line[:150]}")
    say(f"   -> exit {step.came.code}: {'as promised' if step.held else 'NOT as promised'}")


def _tell_why(say: Say, made: Stage) -> None:
    log = made.state / "keeper.log"
    if log.exists():
        say("\nThe keeper's log:\n" + log.read_text(encoding="utf-8", errors="replace")[-2000:])


def _steps(made: Stage) -> Iterator[Step]:
    yield from _set_up(made)
    yield from _own_deployment(made)
    refused = _asks_for_production(made)
    yield refused
    yield from _attacks(made)
    yield from _edited_policy(made)
    yield from granted.steps(made, refused.came)
    yield from _ledger(made)


def _set_up(made: Stage) -> Iterator[Step]:
    policy = made.work / "policies" / "production.yaml"
    policy.write_text(policy.read_text(encoding="utf-8").replace(_APPROVALS, _WITHOUT_TOUCH), encoding="utf-8")
    came = made.gate("activate", "--key", str(made.person))
    shown = Came(came.code, came.out, "")
    yield Step(
        "A person signs the bundle: registry, policies (no security key here: `touch: false`), signers.",
        "gate activate --key ada",
        shown,
        came.code == 0,
    )
    for custody, key in (("dev", DEV_KEY), ("prod", PROD_KEY)):
        came = made.gate("key", "set", custody, stdin=key)
        yield Step(f"The key of {custody} goes to the keeper.", f"gate key set {custody} < key", came, came.code == 0)


def _own_deployment(made: Stage) -> Iterator[Step]:
    came = made.gate("convex", "run", "messages:send", '{"body": "hello"}')
    held = came.code == 0 and made.dev.keys() >= {DEV_KEY}
    yield Step(
        "An agent runs a mutation on dev: free, recorded.",
        'gate convex run messages:send \'{"body": "hello"}\'',
        came,
        held,
    )
    came = made.gate("convex", "run", "messages:list")
    held = came.code == 0 and "hello" in came.out and len(made.dev.keys()) == 1
    yield Step("And a query. Only the keeper ever held the key.", "gate convex run messages:list", came, held)


def _asks_for_production(made: Stage) -> Step:
    tried = made.gate("convex", "run", "messages:list", "--prod")
    return stopped(
        made,
        "It asks for production: refused, with reason and remedy.",
        "gate convex run messages:list --prod",
        tried,
        "grant_required",
    )


def _attacks(made: Stage) -> Iterator[Step]:
    local = made.work / ".env.local"
    own = local.read_text(encoding="utf-8")
    local.write_text(f"CONVEX_DEPLOYMENT=dev:{PROD}\n", encoding="utf-8")
    tried = made.gate("convex", "data")
    local.write_text(own, encoding="utf-8")
    yield stopped(
        made,
        "A hostile .env.local calls production `dev:`.",
        f"CONVEX_DEPLOYMENT=dev:{PROD} gate convex data",
        tried,
        "grant_required",
    )
    tried = made.gate("convex", "data", "--url", made.prod.url, "--admin-key", PROD_KEY)
    held = not is_secret_in(tried.out + tried.err)
    step = stopped(
        made,
        "A key in argv, where every process can read it.",
        "gate convex data --url URL --admin-key KEY",
        tried,
        "key_in_argv",
    )
    yield Step(step.tried, step.command, step.came, step.held and held)
    tried = made.gate("convex", "run", "_system/frontend/addDocument", "{}", "--prod")
    yield stopped(
        made,
        "A write through Convex's own _system functions.",
        "gate convex run _system/frontend/addDocument {} --prod",
        tried,
        "no_rule",
    )
    before = len(made.dev.requests)
    tried = made.gate("convex", "run", "messages:list", cwd=made.hostile_workspace())
    writes = [request for request in made.dev.requests[before:] if "addDocument" in json.dumps(request.body)]
    refused = tried.code == 0 and "status 560" in tried.out
    held = refused and not writes and DEV_KEY not in tried.out
    yield Step(
        "A forged Convex CLI in node_modules uses its lease of a query to write.",
        "gate convex run messages:list   # forged",
        tried,
        held,
    )


def _edited_policy(made: Stage) -> Iterator[Step]:
    policy = made.work / "policies" / "production.yaml"
    before = policy.read_text(encoding="utf-8")
    policy.write_text(before.replace("grant: true", "grant: false").replace("count: 1", "count: 2"), encoding="utf-8")
    tried = made.gate("convex", "run", "messages:list", "--prod")
    yield stopped(
        made,
        "The agent edits the policy on disk: nothing changes.",
        "gate convex run messages:list --prod",
        tried,
        "grant_required",
    )
    came = made.gate("whoami")
    seen = Came(came.code, "".join(line for line in came.out.splitlines(keepends=True) if "draft" in line), "")
    yield Step("And it is seen.", "gate whoami", seen, "NOT in force" in seen.out or "cannot be taken" in seen.out)
    policy.write_text(before, encoding="utf-8")


def _ledger(made: Stage) -> Iterator[Step]:
    came = made.gate("audit", "verify", "--signers", "gate.signers")
    yield Step(
        "The ledger holds every one of these decisions, and verifies.",
        "gate audit verify --signers gate.signers",
        came,
        came.code == 0,
    )
    copy = made.folder / "ledger.jsonl"
    exported = made.gate("audit", "export").out
    copy.write_text(_tampered(exported), encoding="utf-8")
    came = made.gate("audit", "verify", str(copy))
    yield Step(
        "A copy in which one refusal became a permission does not.",
        "gate audit verify tampered.jsonl",
        came,
        came.code == 1,
    )


def _tampered(exported: str) -> str:
    return exported.replace(r"\"code\":\"grant_required\"", r"\"code\":\"ok\"", 1)
