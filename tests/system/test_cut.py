"""The end of a grant is real: whatever ends it, within a second nothing passes, for nobody, and the record says so."""

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cut_kit import Polling, milliseconds, on_disk, polling, story
from production_kit import FILES, Production, production
from system_kit import gone, last, until

# The promise (ADR-0029), in milliseconds.
_SECOND = 1000
# How much later a busy machine lets a process note what it has.
_NOTED = 500
Cause = Callable[[Production, str, Polling], None]
Harm = Callable[[Production, Polling], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def office(node_modules: Path) -> Iterator[Production]:
    with production(node_modules) as made:
        yield made


@pytest.fixture
def mine(office: Production) -> Production:
    """The stage for an agent of its own."""
    return office.fresh()


def wait(_: Production, __: str, ___: Polling) -> None:
    """Do nothing."""


def revoke(made: Production, grant: str, _: Polling) -> None:
    assert made.gate("revoke", grant, "--reason", "no need").code == 0


def revoke_signed(made: Production, grant: str, _: Polling) -> None:
    came = made.gate("--as", "agent:other", "revoke", grant, "--reason", "no", "--key", str(made.keys["kim"]))
    assert came.code == 0, came.err


def drop(made: Production, grant: str, _: Polling) -> None:
    assert made.gate("drop", grant).code == 0


def overdraw(_: Production, __: str, poll: Polling) -> None:
    poll.more()


def change(**changes: tuple[str, str]) -> Cause:
    """Activate the bundle with other texts in it."""

    def cause(made: Production, _: str, __: Polling) -> None:
        made.activate(**changes)

    return cause


def rewrite(name: str, start: str, rewritten: Callable[[str], str]) -> Cause:
    """Activate the bundle with another text for the line of the file that begins with `start`."""

    def cause(made: Production, _: str, __: Polling) -> None:
        lines = (made.project.made.work / FILES[name]).read_text().splitlines(keepends=True)
        line = next(line for line in lines if line.startswith(start))
        made.activate(**{name: (line, rewritten(line))})

    return cause


def elsewhere(line: str) -> str:
    return line.replace("127.0.0.1", "localhost")


_DENY = "rules:\n  - {id: none, deny: {effects: ['deployment:data:*']}, because: Not now.}\n"
CAUSES: dict[str, tuple[str, str, int | None, Cause]] = {
    "expiry": ("expired", "3s", None, wait),
    "revocation by who asked": ("revoked", "30m", None, revoke),
    "revocation by a signer": ("revoked", "30m", None, revoke_signed),
    "giving back": ("dropped", "30m", None, drop),
    # One use for the invocation, one for what is watched over the socket; the next is one too many.
    "exhaustion": ("exhausted", "30m", 2, overdraw),
    "a rule that denies": ("bundle_changed", "30m", None, change(production=("rules:\n", _DENY))),
    "a shorter time": ("bundle_changed", "30m", None, change(production=("ttl_max: 60m", "ttl_max: 5m"))),
    "a signer who is none any more": ("bundle_changed", "30m", None, rewrite("signers", "human:lee", lambda _: "")),
    "another address": ("bundle_changed", "30m", None, rewrite("config", "  prod: {class", elsewhere)),
    "no such deployment": ("bundle_changed", "30m", None, rewrite("config", "  prod: {class", lambda _: "")),
}


# What the others go through, these do too.
_QUICK = ("expiry", "revocation by a signer", "exhaustion", "a rule that denies")


def slowly(cause: str) -> Any:
    """The cause as a parameter; slow where it adds little."""
    return cause if cause in _QUICK else pytest.param(cause, marks=pytest.mark.slow)


@contextmanager
def restored(made: Production) -> Iterator[None]:
    """Afterwards the bundle is what it was."""
    work = made.project.made.work
    before = {name: (work / name).read_text() for name in FILES.values()}
    try:
        yield
    finally:
        if any((work / name).read_text() != text for name, text in before.items()):
            for name, text in before.items():
                (work / name).write_text(text)
            made.activate()


@pytest.mark.parametrize("cause", [*map(slowly, CAUSES)])
def test_nothing_passes_within_a_second_of_the_end(mine: Production, cause: str) -> None:
    why, ttl, uses, act = CAUSES[cause]
    grant = mine.grant(ttl=ttl, uses=uses)
    with restored(mine), polling(mine, mine.agent) as poll:
        begun = time.time() * 1000
        act(mine, grant, poll)
        code, err = poll.ended()
        exited = time.time() * 1000
        assert (code, err.splitlines()[-1]) == (76, f"gate: cut: the grant {grant} has ended ({why})")
        assert until(lambda: len(story(mine.project, grant)) == 3)
        ended, closing, closed = story(mine.project, grant)
        assert [one["type"] for one in (ended, closing, closed)] == ["grant.ended", "grant.closing", "grant.closed"]
        assert ended["why"] == why
        over = expiry(mine, grant) if why == "expired" else milliseconds(ended["time"])
        assert 0 <= closed["latency_ms"] < _SECOND
        assert begun - 2 * _SECOND < poll.last_passed() <= over + _SECOND
        assert exited < over + 2 * _SECOND
        assert_worthless(mine, poll)
    assert outcome_under(mine, grant) == ["cut"]


def expiry(made: Production, grant: str) -> int:
    """When three seconds after its first use are over."""
    used = next(body for body in on_disk(made.project, "grant.used") if body["grant"] == grant)
    return milliseconds(used["time"]) + 3 * _SECOND


def assert_worthless(made: Production, poll: Polling) -> None:
    """The child and its group are gone; who escaped goes on asking, and nothing of it reaches production."""
    assert until(lambda: gone(poll.pid("child")) and gone(poll.pid("group")), seconds=1)
    assert not gone(poll.pid("escaped"))
    reached = asked(made)
    still(poll, "escaped")
    assert asked(made) == reached


def still(poll: Polling, role: str, word: str = "refused") -> None:
    """`role` notes `word` again and again, and nobody notes any access."""
    passed, refused = poll.last_passed(), len(poll.times(role, word))
    assert until(lambda: len(poll.times(role, word)) > refused + 20)
    assert poll.last_passed() == passed


def asked(made: Production) -> int:
    """How often the polled function was called on production, sockets included."""
    return sum("messages:list" in repr(one.body) for one in made.prod.requests)


def outcome_under(made: Production, grant: str) -> list[str]:
    """Outcomes of what ran under the grant."""
    used = {body["decision"] for body in on_disk(made.project, "grant.used") if body["grant"] == grant}
    assert until(lambda: used <= {body["decision"] for body in on_disk(made.project, "outcome")})
    return [body["outcome"] for body in on_disk(made.project, "outcome") if body["decision"] in used]


def test_a_stopped_process_finds_nothing_when_it_goes_on(mine: Production) -> None:
    """The door cannot act while it is stopped; access ends without it."""
    grant = mine.grant()
    with polling(mine, mine.agent) as poll:
        os.kill(poll.pid("escaped"), signal.SIGSTOP)
        poll.door.send_signal(signal.SIGSTOP)
        revoke(mine, grant, poll)
        over = milliseconds(story(mine.project, grant)[0]["time"])
        still(poll, "child")
        os.kill(poll.pid("escaped"), signal.SIGCONT)
        assert until(lambda: bool(poll.times("escaped", "refused")))
        # One answer may have arrived before, and is read only now.
        assert sum(at > over + _SECOND for at in poll.times("escaped", "passed")) <= 1
        poll.door.send_signal(signal.SIGCONT)
        assert poll.ended()[0] == 76
        assert_worthless(mine, poll)
    assert outcome_under(mine, grant) == ["cut"]


@pytest.mark.slow
def test_another_grant_and_what_runs_under_it_stay(mine: Production) -> None:
    """Each end is one grant's: of two that overlap, the other goes on."""
    first, second = mine.grant(ttl="20m"), mine.grant(ttl="30m")
    with polling(mine, "one", "--grant", first) as one, polling(mine, "two", "--grant", second) as two:
        revoke(mine, first, one)
        assert one.ended()[0] == 76
        still(one, "escaped")
        before = len(two.times("child", "passed"))
        assert until(lambda: len(two.times("child", "passed")) > before + 20)
        assert two.door.poll() is None
        assert mine.state(second)["state"] == "active"


@pytest.mark.slow
def test_many_calls_under_one_grant_are_cut_at_once(mine: Production) -> None:
    grant = mine.grant()
    with polling(mine, "first") as first, polling(mine, "second") as second:
        revoke(mine, grant, first)
        over = milliseconds(story(mine.project, grant)[0]["time"])
        assert [one.ended()[0] for one in (first, second)] == [76, 76]
        assert max(first.last_passed(), second.last_passed()) <= over + _SECOND
        assert_worthless(mine, first)
        assert_worthless(mine, second)
    assert [one["type"] for one in story(mine.project, grant)] == ["grant.ended", "grant.closing", "grant.closed"]
    assert outcome_under(mine, grant) == ["cut", "cut"]


def test_a_killed_door_ends_access_and_not_the_grant(mine: Production) -> None:
    grant = mine.grant()
    with polling(mine, mine.agent) as poll:
        killed = time.time() * 1000
        poll.door.kill()
        for role in ("child", "group", "escaped"):
            assert until(lambda role=role: bool(poll.times(role, "refused")), seconds=2)  # type: ignore[misc]
        assert poll.last_passed() <= killed + _SECOND
        still(poll, "child")
    assert story(mine.project, grant) == []
    assert outcome_under(mine, grant) == ["unknown"]
    assert mine.quick("run", "messages:list").out == "ran\n"


def test_a_killed_keeper_ends_access_and_not_the_grant(mine: Production) -> None:
    """The next keeper listens where the last one did, and knows nothing of its tokens."""
    grant = mine.grant()
    with polling(mine, mine.agent) as poll:
        killed = time.time() * 1000
        mine.project.kill_keeper()
        code, err = poll.ended()
        assert (code, err.splitlines()[-1]) == (76, "gate: cut: the keeper is gone")
        assert poll.last_passed() <= killed + _SECOND
        still(poll, "escaped", "failed")
        assert until(lambda: gone(poll.pid("child")) and gone(poll.pid("group")))
        assert mine.quick("run", "messages:list").out == "ran\n"
        still(poll, "escaped")
    assert mine.state(grant)["used"] == 3
    assert outcome_under(mine, grant) == ["unknown", "ok"]


@contextmanager
def replaced(made: Production, _: Polling) -> Iterator[None]:
    """Put an equal copy where the ledger was."""
    beside = made.project.ledger.with_name("copy")
    shutil.copy(made.project.ledger, beside)
    beside.replace(made.project.ledger)
    yield


@contextmanager
def removed(made: Production, _: Polling) -> Iterator[None]:
    away = made.project.state / "away"
    made.project.ledger.rename(away)
    try:
        yield
    finally:
        away.rename(made.project.ledger)


@contextmanager
def filled(made: Production, poll: Polling) -> Iterator[None]:
    """No file of the keeper's grows any more; what it has to write next is a use."""
    with without_room(made):
        poll.more()
        yield


@contextmanager
def without_room(made: Production) -> Iterator[None]:
    pid, limit = made.project.keeper_pid(), resource.RLIMIT_FSIZE
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (1024, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, limit, before)


@pytest.mark.parametrize(
    "harm", [filled, *(pytest.param(harm, marks=pytest.mark.slow) for harm in (replaced, removed))]
)
def test_a_lost_ledger_ends_access_until_it_is_mended(mine: Production, harm: Harm) -> None:
    grant = mine.grant()
    with polling(mine, mine.agent) as poll:
        harmed = time.time() * 1000
        with harm(mine, poll):
            code, err = poll.ended()
            assert code == 76
            assert "gate: cut: the ledger is closed: " in err
            assert poll.last_passed() <= harmed + _SECOND
            assert time.time() * 1000 < harmed + 3 * _SECOND
            assert_worthless(mine, poll)
            if harm is not replaced:
                assert mine.quick("run", "messages:list").code == 74
                still(poll, "escaped", "failed")
        assert until(lambda: mine.quick("run", "messages:list").out == "ran\n")
    assert outcome_under(mine, grant) == ["unknown", "ok"]


def killed(made: Production) -> None:
    made.project.kill_keeper()


def kept(_: Production) -> None:
    """Let the keeper go on."""


def called_in_vain(made: Production) -> None:
    """The keeper opens the ledger again and fails: what it cut has to outlast that."""
    for _ in range(2):
        assert made.quick("run", "messages:list").code == 74


@pytest.mark.parametrize(
    ("meanwhile", "marked"),
    [
        (killed, True),
        (called_in_vain, False),
        pytest.param(kept, True, marks=pytest.mark.slow),
        pytest.param(kept, False, marks=pytest.mark.slow),
        pytest.param(called_in_vain, True, marks=pytest.mark.slow),
    ],
)
def test_a_revocation_that_cannot_be_recorded_cuts_first_and_is_recorded_later(
    mine: Production, meanwhile: Callable[[Production], None], marked: bool
) -> None:
    """A full disk: access is gone at once and stays gone, whatever happens until the end is on record.

    `marked`: whether the disk takes at least an empty file; without one only the same process can remember.
    """
    grant = mine.grant()
    barred = mine.project.state / "demo" / "barred"
    if not marked:
        shutil.rmtree(barred, ignore_errors=True)
        barred.touch()
    with polling(mine, mine.agent) as poll:
        with without_room(mine):
            came = mine.gate("revoke", grant, "--reason", "no need")
            answered = time.time() * 1000
            assert (came.code, last(came)) == (74, "ledger_unavailable"), came.err
            assert poll.ended()[0] == 76
            assert poll.last_passed() <= answered + _NOTED
            assert story(mine.project, grant) == []
            still(poll, "escaped")
            meanwhile(mine)
        if not marked:
            barred.unlink()
        reached = asked(mine)
        came = mine.quick("run", "messages:list")
        assert (came.code, asked(mine)) == (77, reached), came
        ended, _, closed = story(mine.project, grant)
        assert (ended["why"], ended["by"], closed["type"]) == ("revoked", "gate", "grant.closed")
        assert poll.last_passed() <= answered + _NOTED
    assert list(barred.glob("*")) == []
    assert outcome_under(mine, grant) == ["unknown"]


def test_the_record_of_all_that_holds(office: Production) -> None:
    """Whatever happened above, the history is whole."""
    came = office.gate("audit", "verify", "--signers", "gate.signers")
    assert came.code == 0, came.out + came.err
