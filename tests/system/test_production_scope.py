"""What a grant does not give: to others, for other things, a second longer or once more than was signed.

Through command line, keeper, ledger, proxy and a stand-in of production; each test says what reached it.
"""

import base64
import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from production_kit import PROD_ENV, SECRET, VIEW, WRITE, Production, production
from system_kit import decision_of, last, until

from gate.config.draft import shipped
from gate.demo import standin_app
from gate.demo.stage import PROD_KEY
from gate.demo.standin_app import App, Function

AS_USER = "deployment:functions:actAsUser"
INTERNAL = "deployment:functions:runInternalMutations"
SENT = {"body": "hello", "author": "ada"}
READ, SEND = "messages:list", "messages:send"
MUTATION = {"type": "Mutation", "requestId": 0, "udfPath": SEND, "args": [SENT]}


@pytest.fixture(scope="module")
def stage_of_one(node_modules: Path) -> Iterator[Production]:
    with production(node_modules) as made:
        yield made


@pytest.fixture
def one(stage_of_one: Production) -> Production:
    """An agent of its own."""
    return stage_of_one.fresh()


def granted_for(made: Production, *words: str) -> str:
    """A grant that answers the refusal of `gate convex WORDS`, and gives nothing else."""
    came = made.gate("--json", "convex", *words, "--prod")
    asked = made.gate("request", "--for", decision_of(came)["id"], *made.fields())
    assert asked.code == 0, asked.err
    approved = made.approve(asked.out.strip())
    assert approved.code == 0, approved.err
    return approved.out.strip()


def refused(made: Production, *words: str, options: tuple[str, ...] = ()) -> str:
    """The code with which `gate convex WORDS` on production is refused; its CLI would have said that it ran."""
    came = made.quick(*words, options=options)
    assert "ran" not in came.out
    assert came.code not in (0, 1), came.err
    return last(came)


# For others.


def test_a_grant_is_worth_nothing_to_another_agent(stage_of_one: Production) -> None:
    mine, other = stage_of_one.fresh(), stage_of_one.fresh()
    grant = mine.grant()
    assert refused(other, "run", READ) == "grant_required"
    assert refused(other, "run", READ, options=("--grant", grant)) == "grant_ended"
    assert refused(other, "run", READ, options=("--grant", grant, "--as", "agent:unknown")) == "grant_ended"
    assert mine.state(grant)["used"] == 0
    assert mine.reached() == []


def test_a_grant_is_not_given_back_or_revoked_by_another_agent(stage_of_one: Production) -> None:
    mine, other = stage_of_one.fresh(), stage_of_one.fresh()
    grant = mine.grant()
    assert other.refused("drop", grant) == "denied_by_rule"
    assert other.refused("revoke", grant, "--reason", "mine now") == "denied_by_rule"
    stranger = str(mine.keys["stranger"])
    assert other.refused("revoke", grant, "--reason", "mine now", "--key", stranger) == "not_a_signer"
    assert mine.state(grant)["state"] == "scheduled"
    assert mine.reached() == []


def test_a_request_is_not_cancelled_by_another_agent(stage_of_one: Production) -> None:
    mine, other = stage_of_one.fresh(), stage_of_one.fresh()
    request = mine.request()
    assert other.refused("cancel", request) == "denied_by_rule"
    assert mine.state(request)["state"] == "pending"
    assert mine.reached() == []


def test_a_grant_ends_to_be_worth_anything_with_another_owner(granting: Production) -> None:
    grant = granting.grant()
    granting.activate(config=("agent:codex: {owner: human:ada}", "agent:codex: {owner: human:kim}"))
    assert refused(granting, "run", READ) == "grant_required"
    assert refused(granting, "run", READ, options=("--grant", grant)) == "grant_ended"
    assert granting.reached() == []


def test_a_grant_is_worth_nothing_in_another_project(granting: Production) -> None:
    grant = granting.grant()
    work = granting.project.made.work
    beside = work.with_name("beside")
    shutil.copytree(work, beside, symlinks=True)
    (beside / "gate.yaml").write_text((work / "gate.yaml").read_text().replace("project: demo", "project: beside"))
    (beside / ".env.local").write_text(PROD_ENV)
    for words, stdin in ((("activate", "--key", str(granting.keys["ada"])), ""), (("key", "set", "prod"), PROD_KEY)):
        assert granting.gate(*words, stdin=stdin, cwd=beside).code == 0
    assert granting.refused("convex", "run", READ, cwd=beside) == "grant_required"
    assert granting.refused("--grant", grant, "convex", "run", READ, cwd=beside) == "grant_ended"
    assert granting.refused("drop", grant, cwd=beside) == "usage"
    assert granting.state(grant)["used"] == 0
    assert granting.reached() == []


def test_a_grant_that_has_ended_or_never_was_is_named_in_vain(one: Production) -> None:
    grant, other = one.grant(), one.grant()
    assert one.gate("drop", grant).code == 0
    assert refused(one, "run", READ, options=("--grant", grant)) == "grant_ended"
    assert refused(one, "run", READ, options=("--grant", "grt-00000000")) == "grant_ended"
    assert refused(one, "run", READ, options=("--grant", "'; DROP TABLE events")) == "grant_ended"
    assert one.state(other)["used"] == 0
    assert one.reached() == []


# For other things.

OTHER_USES = {
    "another query": ("run", "messages:fail"),
    "a mutation": ("run", SEND),
    "an action": ("run", "tasks:work"),
    "an internal query": ("run", "reports:secrets"),
    "a function of a component": ("run", READ, "--component", "billing"),
    "a function of the system": ("run", "_system/frontend/addDocument"),
    "text as a query": ("run", "--inline-query", "return 1"),
    "data": ("data", "messages"),
    "all data": ("data",),
    "its functions": ("function-spec",),
    "logs": ("logs",),
    "variables": ("env", "list"),
    "a variable": ("env", "get", "SECRET"),
    "a changed variable": ("env", "set", "NAME", "value"),
    "a removed variable": ("env", "remove", "NAME"),
    "export": ("export", "--path", "out.zip"),
    "import": ("import", "--table", "messages", "rows.jsonl"),
}


@pytest.fixture(scope="module")
def reader(stage_of_one: Production) -> tuple[Production, str]:
    """An agent whose one grant is for calling `messages:list`."""
    made = stage_of_one.fresh()
    return made, granted_for(made, "run", READ)


@pytest.mark.parametrize("words", OTHER_USES.values(), ids=OTHER_USES.keys())
def test_a_grant_of_one_query_is_good_for_nothing_else(reader: tuple[Production, str], words: tuple[str, ...]) -> None:
    made, grant = reader
    assert refused(made, *words) == "grant_required"
    assert refused(made, *words, options=("--grant", grant)) == "grant_required"
    assert made.state(grant)["used"] == 0
    assert made.reached() == []


PUSHES = {
    "deploy": ("deploy",),
    "run --push": ("run", READ, "--push"),
    "codegen": ("codegen",),
    "dev": ("dev", "--once"),
}
_EVERYTHING = ("deployment:data:view", "deployment:data:write", "deployment:env:view", "deployment:env:write")


@pytest.fixture(scope="module")
def writer(stage_of_one: Production) -> Production:
    """An agent whose grant is for much."""
    made = stage_of_one.fresh()
    made.grant(*_EVERYTHING)
    return made


@pytest.mark.parametrize("words", PUSHES.values(), ids=PUSHES.keys())
def test_what_deploys_wants_a_plan_under_every_grant(writer: Production, words: tuple[str, ...]) -> None:
    assert refused(writer, *words) == "plan_required"
    explained = writer.gate("--json", "explain", "convex", *words, cwd=writer.project.made.work / "quick")
    assert json.loads(explained.out)["code"] == "plan_required"
    assert writer.prod.app.pushes == 0
    assert writer.reached() == []


def test_deploying_is_not_to_be_asked_for(one: Production) -> None:
    words = ["request", "--deployment", "prod", "--effect", VIEW, "--effect", "deployment:deploy"]
    assert one.refused(*words, *one.fields()) == "plan_required"
    decision = decision_of(one.gate("--json", "convex", "deploy", "--yes"))
    assert decision["code"] == "plan_required"
    assert one.refused("request", "--for", decision["id"], *one.fields()) == "plan_required"
    assert one.agent not in {asked["requester"] for asked in one.done("requests", all=True)["requests"]}
    assert one.reached() == []


@pytest.fixture(scope="module")
def shipped_stage(node_modules: Path) -> Iterator[Production]:
    """A stage under the policies that come with the gate."""
    with production(node_modules, shipped()["policies/production.yaml"]) as made:
        yield made


DENIED = {
    "export": (("export", "--path", "out.zip"), ("deployment:backups:create", "deployment:backups:download")),
    "env list": (("env", "list"), ("deployment:env:view",)),
    "env get": (("env", "get", "SECRET"), ("deployment:env:view",)),
    "env set": (("env", "set", "NAME", "value"), ("deployment:env:write",)),
    "a mutation": (("run", "_system/frontend/addDocument"), (VIEW, WRITE)),
    "import": (("import", "--table", "messages", "rows.jsonl"), ("deployment:backups:import", WRITE)),
    "acting as a user": (("run", READ, "--identity", "{}"), (VIEW, AS_USER)),
}


@pytest.mark.parametrize(("words", "effects"), DENIED.values(), ids=DENIED.keys())
def test_the_shipped_policy_leaves_it_to_no_grant(
    shipped_stage: Production, words: tuple[str, ...], effects: tuple[str, ...]
) -> None:
    made = shipped_stage.fresh()
    assert refused(made, *words) == "no_rule"
    named = [word for effect in effects for word in ("--effect", effect)]
    assert made.refused("request", "--deployment", "prod", *named, *made.fields()) == "no_rule"
    assert made.reached() == []


# By a forged CLI, through a lease that was meant for less.

REFUSED_POSTS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "a mutation": ("/api/function", {"path": SEND, "args": SENT}),
    "a mutation by its route": ("/api/mutation", {"path": SEND, "args": SENT}),
    "an action by its route": ("/api/action", {"path": "tasks:work", "args": {}}),
    "another query": ("/api/function", {"path": "messages:fail", "args": {}}),
    "another spelling": ("/api/function", {"path": "./messages:list", "args": {}}),
    "a function of a component": ("/api/function", {"path": READ, "args": {}, "componentPath": "billing"}),
    "a writer of the system": (
        "/api/function",
        {"path": "_system/frontend/addDocument", "args": {"table": "messages"}},
    ),
    "data of a table": ("/api/function", {"path": "_system/cli/tableData", "args": {"table": "users"}}),
    "variables": ("/api/function", {"path": "_system/cli/queryEnvironmentVariables", "args": {}}),
    "a test query": ("/api/run_test_function", {"bundle": {}, "adminKey": "KEY"}),
    "a variable": ("/api/update_environment_variables", {"changes": [{"name": "A", "value": "b"}]}),
    "an export": ("/api/export/request/zip", {}),
    "an import": ("/api/perform_import", {"importId": "import-1"}),
    "a push": ("/api/deploy2/start_push", {"adminKey": "KEY"}),
}


@pytest.mark.parametrize(("path", "body"), REFUSED_POSTS.values(), ids=REFUSED_POSTS.keys())
def test_a_lease_for_a_query_passes_nothing_else(writer: Production, path: str, body: Mapping[str, Any]) -> None:
    mine = writer.since_now()
    with mine.held("run", READ) as held:
        status, text = held.post(path, {**body, **({"adminKey": held.key} if "adminKey" in body else {})})
        assert status not in (0, 200), text
        assert SECRET not in text
        assert mine.called() == []
        assert held.call(READ)[0] == 200
    assert mine.called() == [READ]
    assert mine.events("grant.write", grant=_grant_of(mine)) == []


def _grant_of(made: Production) -> str:
    (grant,) = [one["id"] for one in made.done("grants", all=True)["grants"] if one["requester"] == made.agent]
    return str(grant)


def test_a_query_that_has_become_a_mutation_is_not_run_under_a_lease_for_a_query(
    one: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.grant()
    with one.held("run", READ) as held:
        monkeypatch.setitem(standin_app.FUNCTIONS, READ, standin_app.FUNCTIONS[SEND])
        before = len(one.prod.app.tables["messages"])
        held.call(READ)
        assert [reached.path for reached in one.reached()] == ["/api/query"]
        assert held.post("/api/mutation", {"path": READ, "args": {}})[0] not in (0, 200)
        assert held.sync({**MUTATION, "udfPath": READ})[0]["success"] is False
        assert len(one.prod.app.tables["messages"]) == before
    assert refused(one, "run", READ) == "grant_required"
    assert one.called()[:1] == [READ]
    assert "Mutation" not in {reached.body.get("type") for reached in one.reached()}


def test_a_lease_for_a_query_passes_nothing_else_over_the_socket(writer: Production) -> None:
    mine = writer.since_now()
    watched = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1}
    add = {"type": "Add", "queryId": 0, "args": [{}]}
    with mine.held("run", READ, "--watch") as held:
        for message in (
            MUTATION,
            {**MUTATION, "type": "Action"},
            {**MUTATION, "udfPath": READ},
            {**MUTATION, "componentPath": "billing", "udfPath": READ},
            {**watched, "modifications": [{**add, "udfPath": "messages:fail"}]},
            {**watched, "modifications": [{**add, "udfPath": READ, "componentPath": "billing"}]},
            {"type": "Mutate", "requestId": 0, "udfPath": READ, "args": [{}]},
        ):
            answers = held.sync(message)
            assert not any(answer.get("success") for answer in answers), answers
            assert not any(
                one["type"] == "QueryUpdated" for answer in answers for one in answer.get("modifications", ())
            )
        assert held.sync(impersonating={"subject": "ada"}) == []
        assert [one for one in mine.reached() if one.method != "WS"] == []
        assert {one.body["type"] for one in mine.reached()} <= {"Connect", "Authenticate"}
        (answer,) = held.sync({**watched, "modifications": [{**add, "udfPath": READ}]})
        assert answer["modifications"][0]["type"] == "QueryUpdated"
    assert "Mutation" not in {one.body["type"] for one in mine.reached()}
    assert mine.events("grant.write", grant=_grant_of(mine)) == []


def user(subject: str = "ada") -> str:
    return base64.b64encode(json.dumps({"subject": subject}).encode()).decode()


def test_nobody_acts_as_a_user_without_the_grant_for_it(one: Production) -> None:
    one.grant(VIEW, WRITE)
    identity = ("run", READ, "--identity", '{"subject": "ada"}')
    assert refused(one, *identity) == "grant_required"
    with one.held("run", READ) as held:
        assert held.call(READ, authorization=f"Convex {held.key}:{user()}")[0] not in (0, 200)
        assert held.sync(impersonating={"subject": "ada"}) == []
    assert one.called() == []
    one.grant(VIEW, AS_USER)
    with one.held(*identity) as held:
        assert held.call(READ, authorization=f"Convex {held.key}:{user()}")[0] == 200
    assert [reached.key for reached in one.reached()] == [f"{PROD_KEY}:{user()}"]


def test_a_grant_to_act_as_a_user_is_used_by_calls_that_say_so_only(one: Production) -> None:
    one.grant(VIEW, AS_USER)
    with one.held("run", READ) as held:
        assert held.call(READ, authorization=f"Convex {held.key}:{user()}")[0] not in (0, 200)
    assert one.called() == []


def test_a_function_of_a_component_and_one_that_is_not_listed_count_as_internal_mutations(one: Production) -> None:
    one.grant(VIEW, WRITE)
    for words in (("run", READ, "--component", "billing"), ("run", "nothing:here")):
        came = one.gate("--json", "convex", *words, "--prod")
        assert decision_of(came)["code"] == "grant_required"
        assert decision_of(came)["intent"]["effects"] == sorted([VIEW, WRITE, INTERNAL])
    assert one.called() == []
    one.grant(VIEW, WRITE, INTERNAL)
    with one.held("run", READ, "--component", "billing") as held:
        assert held.call(READ)[0] not in (0, 200)
        assert held.call(READ, componentPath="other")[0] not in (0, 200)
        assert one.called() == []
        held.call(READ, componentPath="billing")
    assert one.called() == [READ]
    (write,) = [body for body in one.events("grant.write", function=READ) if body["component"] == "billing"]
    assert write["grant"] in {grant["id"] for grant in one.done("grants")["grants"]}


def test_the_kind_of_a_function_is_asked_for_with_the_real_key_under_a_live_grant_only(granting: Production) -> None:
    def asked() -> list[str | None]:
        return [one.key for one in granting.prod.requests if isinstance(one.body, dict) and "apiSpec" in str(one.body)]

    came = granting.gate("--json", "convex", "run", "reports:secrets", "--prod")
    assert decision_of(came)["indeterminate"] == ["kind"]
    assert granting.gate("explain", "convex", "run", "reports:secrets", "--prod").code == 77
    granting.request()
    assert refused(granting, "run", "reports:secrets") == "request_pending"
    assert granting.prod.requests == []
    granting.grant(VIEW)
    came = granting.gate("--json", "convex", "run", "reports:secrets", "--prod")
    decision = decision_of(came)
    assert (decision["code"], decision["indeterminate"]) == ("grant_required", [])
    assert "deployment:functions:runInternalQueries" in decision["intent"]["effects"]
    (recorded,) = granting.events("decision", id=decision["id"])
    assert (recorded["object"], recorded["runs"]) == (decision, False)
    assert asked() == [PROD_KEY]
    assert granting.reached() == []


# Once more than was signed.


def test_a_third_write_of_two_does_not_reach_production(one: Production) -> None:
    grant = one.grant(VIEW, WRITE, uses=2)
    with one.held("run", SEND) as held:
        # The same three times: what was paid for once is not paid for again by looking alike.
        statuses = [held.call(SEND, SENT)[0] for _ in range(3)]
        assert statuses[:2] == [200, 200]
        assert statuses[2] != 200
        code, err = held.ended()
    assert (code, grant in err) == (76, True), err
    assert one.called() == [SEND, SEND]
    assert until(lambda: one.state(grant)["state"] == "closed")
    assert (one.state(grant)["why"], one.state(grant)["used"]) == ("exhausted", 2)
    assert [write["use"] for write in one.events("grant.write", grant=grant)] == [1, 2]
    assert refused(one, "run", SEND) == "grant_required"
    assert one.called() == [SEND, SEND]


def test_a_third_write_of_two_does_not_reach_production_over_the_socket(one: Production) -> None:
    grant = one.grant(VIEW, WRITE, uses=2)
    with one.held("run", SEND) as held:
        answers = held.sync(*({**MUTATION, "requestId": number} for number in range(3)))
        # The answer to the second may still be on its way when the third ends the lease.
        assert {answer["requestId"]: answer["success"] for answer in answers if "success" in answer}[2] is False
        assert held.ended()[0] == 76
    assert [one.body["requestId"] for one in one.reached() if one.body["type"] == "Mutation"] == [0, 1]
    assert [write["use"] for write in one.events("grant.write", grant=grant)] == [1, 2]


def test_each_invocation_costs_a_use_whether_it_writes_or_not(one: Production) -> None:
    grant = one.grant(uses=2)
    assert [one.quick("run", READ).code for _ in range(2)] == [0, 0]
    assert refused(one, "run", READ) in ("grant_required", "grant_ended")
    assert one.state(grant)["used"] == 2
    assert until(lambda: one.state(grant)["state"] == "closed")
    assert one.reached() == []


def test_another_read_costs_a_use_and_the_same_again_none(one: Production) -> None:
    grant = one.grant(uses=2)
    with one.held("run", READ) as held:
        assert [held.call(READ)[0] for _ in range(3)] == [200, 200, 200]
        assert one.state(grant)["used"] == 1
        assert held.call(READ, {"other": 1})[0] == 200
        assert one.state(grant)["used"] == 2
        assert held.call(READ, {"other": 2})[0] != 200
        assert held.ended()[0] == 76
    assert len(one.reached()) == 4


def test_many_writes_at_once_are_not_more_than_were_signed(one: Production) -> None:
    grant = one.grant(VIEW, WRITE, uses=3)
    with one.held("run", SEND) as held, ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda number: held.call(SEND, {"body": str(number)})[0], range(16)))
    # The cut may meet one that is on record and not forwarded yet, or whose answer is on its way.
    assert statuses.count(200) <= len(one.called()) <= 3
    assert [write["use"] for write in one.events("grant.write", grant=grant)] == [1, 2, 3]


def test_of_two_grants_the_one_that_ends_first_is_used_and_its_end_leaves_the_other(one: Production) -> None:
    long, short = one.grant(ttl="40m"), one.grant(ttl="20m")
    with one.held("run", READ) as held:
        assert held.call(READ)[0] == 200
        assert [one.state(grant)["used"] for grant in (short, long)] == [1, 0]
        assert one.gate("drop", short).code == 0
        assert held.ended()[0] == 76
    assert one.state(long)["state"] == "scheduled"
    assert one.quick("run", READ).code == 0
    assert [one.state(grant)["used"] for grant in (short, long)] == [1, 1]
    assert one.quick("run", READ, options=("--grant", short)).code == 77
    assert one.called() == [READ]


def test_a_named_grant_is_used_and_no_other(one: Production) -> None:
    short, long = one.grant(ttl="20m"), one.grant(ttl="40m")
    assert one.quick("run", READ, options=("--grant", long)).code == 0
    assert [one.state(grant)["used"] for grant in (short, long)] == [0, 1]
    assert one.reached() == []


def test_two_grants_are_not_added_up(one: Production) -> None:
    grants = [one.grant(VIEW), one.grant(WRITE)]
    assert refused(one, "run", SEND) == "grant_required"
    assert [one.state(grant)["used"] for grant in grants] == [0, 0]
    assert one.reached() == []


# On record first.


def test_use_and_write_are_on_record_before_production_sees_the_write(
    one: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = one.grant(VIEW, WRITE)
    seen: list[list[str]] = []

    def spying(app: App, arguments: Mapping[str, Any]) -> Any:
        seen.append(_on_record(one.project.ledger, grant))
        return app.insert("messages", dict(arguments))

    monkeypatch.setitem(standin_app.FUNCTIONS, SEND, Function("Mutation", spying))
    with one.held("run", SEND) as held:
        assert [held.call(SEND, {"body": str(number)})[0] for number in range(2)] == [200, 200]
    first = ["grant.made", "grant.used", "grant.write"]
    assert seen == [first, [*first, "grant.write"]]


def _on_record(ledger: Path, grant: str) -> list[str]:
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT type FROM events WHERE subject = ? ORDER BY seq", (grant,))
        return [kind for (kind,) in rows]


def test_what_cannot_be_recorded_does_not_reach_production(granting: Production) -> None:
    granting.grant(VIEW, WRITE)
    with granting.held("run", SEND) as held:
        assert held.call(SEND, SENT)[0] == 200
        beside = granting.project.ledger.with_name("copy")
        shutil.copy(granting.project.ledger, beside)
        beside.replace(granting.project.ledger)
        assert held.call(SEND, SENT)[0] != 200
        assert held.call(READ)[0] != 200
        assert held.ended()[0] == 76
    assert granting.called() == [SEND]


# In other hands.


def test_a_token_works_for_another_process_of_the_user_while_the_lease_lives(one: Production) -> None:
    grant = one.grant(VIEW, WRITE)
    with one.held("run", SEND) as held:
        assert os.getpid() not in (held.pid, held.process.pid)
        assert held.call(SEND, SENT)[0] == 200
        assert held.post("/api/update_environment_variables", {"changes": [{"name": "A", "value": "b"}]})[0] != 200
        assert held.call(SEND, SENT, authorization=f"Convex {held.key[:-1]}")[0] != 200
        assert held.call(SEND, SENT, authorization=f"Bearer {held.key}")[0] != 200
        assert one.called() == [SEND]
        held.process.send_signal(signal.SIGTERM)
        held.ended()
        assert held.call(SEND, SENT)[0] != 200
        assert held.sync(MUTATION | {"udfPath": SEND}) == []
    assert one.called() == [SEND]
    (write,) = one.events("grant.write", grant=grant)
    (outcome,) = one.events("outcome", decision=write["decision"])
    assert (write["function"], write["use"], outcome["counts"]["writes"]) == (SEND, 1, 1)


def test_a_token_is_refused_where_it_is_shown_with_another(writer: Production, one: Production) -> None:
    grant = one.grant(VIEW, WRITE)
    with writer.held("run", READ) as other, one.held("run", SEND) as held:
        body = {"path": SEND, "args": SENT, "adminKey": other.key}
        assert held.post("/api/function", body)[0] != 200
        assert other.post("/api/function", {**body, "adminKey": held.key})[0] != 200
        # A token opens its own lease, whoever shows it.
        assert [answer["success"] for answer in held.sync(MUTATION, value=other.key)] == [False]
        assert held.sync(MUTATION, value=PROD_KEY) == []
        assert SEND not in one.called()
        assert {reached.key for reached in one.reached()} <= {PROD_KEY, None}
    assert one.events("grant.write", grant=grant) == []


def test_the_child_of_a_call_under_a_grant_is_given_nothing_that_it_does_not_need(one: Production) -> None:
    one.grant()
    own = {"FOO": "bar", "NODE_OPTIONS": "--no-warnings", "SSH_AUTH_SOCK": "/tmp/agent", "AWS_SECRET_ACCESS_KEY": "x"}
    keys = {"CONVEX_DEPLOY_KEY": "", "https_proxy": "http://127.0.0.1:9", "LC_ALL": "C", "LD_AUDIT": ""}
    with one.held("run", READ, **own, **keys) as held:
        given = {name for name, value in held.env.items() if value}
        pins = {"CONVEX_DEPLOY_KEY", "CONVEX_PROVISION_HOST", "CONVEX_VERSION_API_ORIGIN"}
        assert given <= {"PATH", "TERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "NO_COLOR", "CI", "HOME", *pins}
        assert given >= {"LC_ALL", "HOME", *pins}
        assert held.env["HOME"] == str(one.project.state / "demo" / "home")
        assert held.argv[2:] == ["run", READ]
        for pid in (held.pid, held.process.pid):
            for place in ("environ", "cmdline"):
                assert SECRET.encode() not in Path(f"/proc/{pid}/{place}").read_bytes()
        assert held.call(READ)[0] == 200
        assert held.key != PROD_KEY
    assert [reached.key for reached in one.reached()] == [PROD_KEY]


def test_neither_key_nor_token_stands_in_anything_that_the_gate_writes(one: Production) -> None:
    grant = one.grant(VIEW, WRITE)
    with one.held("run", SEND) as held:
        assert held.call(SEND, SENT)[0] == 200
        held.call(SEND, SENT, authorization=f"Convex {held.key}x")
        token = held.key.rpartition("|")[2]
    came = [one.gate("--json", "show", grant), one.gate("show", grant), one.gate("audit", "export"), one.gate("doctor")]
    log = one.project.state / "keeper.log"
    texts = [text for done in came for text in (done.out, done.err)] + ([log.read_text()] if log.exists() else [])
    assert all(secret not in text for secret in (SECRET, token) for text in texts)
    files = [file for file in (one.project.state / "demo").rglob("*") if file.is_file() and file.parent.name != "keys"]
    assert any(file.name == "ledger.db" for file in files)
    assert all(secret.encode() not in file.read_bytes() for secret in (SECRET, token) for file in files)


def test_the_history_of_all_this_verifies(stage_of_one: Production) -> None:
    came = stage_of_one.gate("audit", "verify", "--signers", "gate.signers")
    assert (came.code, "finding" in came.out) == (0, False), came.out
