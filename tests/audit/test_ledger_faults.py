"""The ledger under attack and in trouble: it latches shut, says so, and never acknowledges what it does not hold."""

import asyncio
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from gate.audit import chain, ledger as ledger_module
from gate.audit.ledger import Ledger
from gate.errors import LedgerError


async def filled(path: Path, count: int = 3) -> Ledger:
    """An open ledger with some events."""
    ledger = await Ledger.open(path)
    for number in range(count):
        await ledger.append("note", {"id": f"n-{number}", "text": "x" * 300})
    return ledger


async def refused_append(ledger: Ledger) -> str:
    """Code of the refusal that an append has to get."""
    with pytest.raises(LedgerError) as caught:
        await ledger.append("note", {})
    return caught.value.code


async def refused_open(path: Path) -> LedgerError:
    """The refusal that opening has to get."""
    with pytest.raises(LedgerError) as caught:
        await Ledger.open(path)
    return caught.value


async def assert_latched(ledger: Ledger, code: str) -> None:
    """The next append is refused with `code`, the keeper is told once, and it stays so until the ledger is reopened."""
    told: list[str] = []
    ledger.on_latch(told.append)
    size = ledger.size
    assert await refused_append(ledger) == code
    assert ledger.latched is not None
    await asyncio.sleep(0)
    assert told == [ledger.latched]
    assert await refused_append(ledger) == code
    late: list[str] = []
    ledger.on_latch(late.append)
    await asyncio.sleep(0)
    assert (told, late) == ([ledger.latched], [ledger.latched])
    assert ledger.size == size
    await ledger.close()


async def test_replaced_under_it(tmp_path: Path) -> None:
    """An older copy put in its place is tampering, not a fresh start."""
    path = tmp_path / "ledger.db"
    await (await filled(path)).close()
    shutil.copy(path, tmp_path / "old.db")
    ledger = await filled(path)
    (tmp_path / "old.db").replace(path)
    await assert_latched(ledger, "ledger_tampered")


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal"])
async def test_removed_under_it(tmp_path: Path, name: str) -> None:
    """Deleting the file or its log latches."""
    ledger = await filled(tmp_path / "ledger.db")
    (tmp_path / name).unlink()
    await assert_latched(ledger, "ledger_tampered")


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal"])
async def test_cut_short_under_it(tmp_path: Path, name: str) -> None:
    """A file that shrinks latches before anything is written into it."""
    path = tmp_path / "ledger.db"
    await (await filled(path, 40)).close()
    ledger = await filled(path)
    os.truncate(tmp_path / name, os.stat(tmp_path / name).st_size - 4096)  # noqa: PTH116 - beside truncate
    await assert_latched(ledger, "ledger_tampered")


async def test_written_by_somebody_else(tmp_path: Path) -> None:
    """Another connection's commit, even a rightly linked one, is not ours."""
    path = tmp_path / "ledger.db"
    ledger = await filled(path)
    body = "{}"
    with sqlite3.connect(path) as other:
        values = (5, "t", "note", body, ledger.head, chain.link(ledger.head, body), None, 0)
        other.execute("INSERT INTO events (seq,time,type,body,prev,hash,subject,runs) VALUES (?,?,?,?,?,?,?,?)", values)
    other.close()
    await assert_latched(ledger, "ledger_tampered")


def look(path: Path) -> None:
    """Read the ledger from another process."""
    script = "import sqlite3,sys; print(sqlite3.connect(sys.argv[1]).execute('select count(*) from events').fetchone())"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True)


async def test_guards_taken_away_by_somebody_else(tmp_path: Path) -> None:
    """A commit that leaves the last event alone is noticed as well: it could be the first half of an edit."""
    path = tmp_path / "ledger.db"
    ledger = await filled(path)
    damaged(path, "DROP TRIGGER events_append_only_update;")
    await assert_latched(ledger, "ledger_tampered")


async def test_readers_of_other_processes_are_no_writers(tmp_path: Path) -> None:
    """Somebody who only looks, through a thousand pages and a restart of the log, does not latch it."""
    path = tmp_path / "ledger.db"
    ledger = await filled(path)
    for _ in range(3):
        await asyncio.to_thread(look, path)
        await asyncio.gather(*(ledger.append("note", {"text": "x" * 4000}) for _ in range(600)))
    assert ledger.latched is None
    await ledger.close()
    await (await Ledger.open(path)).close()


async def test_locked_by_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is not given back is waited for until the deadline, then the ledger is closed."""
    monkeypatch.setattr(ledger_module, "DEADLINE_SECONDS", 0.3)
    path = tmp_path / "ledger.db"
    ledger = await filled(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    await assert_latched(ledger, "ledger_unavailable")
    assert time.monotonic() - began < 10
    other.close()


async def test_a_disk_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that never returns is not waited for beyond the deadline; the files stay held meanwhile."""
    path = tmp_path / "ledger.db"
    ledger = await filled(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(ledger_module, "DEADLINE_SECONDS", 0.2)
    assert await refused_append(ledger) == "ledger_unavailable"
    await ledger.close()
    assert (await refused_open(path)).code == "ledger_unavailable"
    other.close()
    await asyncio.sleep(0.2)
    await ledger.close()
    await (await Ledger.open(path)).close()


async def test_no_room_left(tmp_path: Path) -> None:
    """A write that does not fit latches; what was acknowledged before is there after reopening."""
    path = tmp_path / "ledger.db"
    ledger = await filled(path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "ledger.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, limit[1]))
    try:
        await assert_latched(ledger, "ledger_unavailable")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    again = await Ledger.open(path)
    assert again.size == 4
    assert (await again.append("note", {})).seq == 5
    await again.close()


async def test_a_full_database(tmp_path: Path) -> None:
    """SQLite's own limit on pages: refused, latched, nothing half written; all who waited are refused too."""
    path = tmp_path / "ledger.db"
    ledger = await filled(path)
    ledger._opened.writer.connection.execute("PRAGMA max_page_count = 1")  # noqa: SLF001 - a full disk, made cheaply
    results = await asyncio.gather(
        *(ledger.append("note", {"text": "x" * 5000}) for _ in range(300)), return_exceptions=True
    )
    assert {type(result) for result in results} == {LedgerError}
    assert ledger.size == 4
    await ledger.close()
    again = await Ledger.open(path)
    assert again.size == 4
    await again.close()


def run_as_nobody(script: str) -> subprocess.CompletedProcess[str]:
    """Run `script` in a folder of its own, without root's right to pass over file modes."""
    prelude = """
        import asyncio, os, shutil, sys, tempfile
        from pathlib import Path
        from gate.audit.ledger import Ledger
        from gate.errors import LedgerError
        folder = Path(tempfile.mkdtemp(prefix="ledger-"))
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
            os.setuid(65534)
        path = folder / "ledger.db"
        """
    whole = textwrap.dedent(prelude) + textwrap.dedent(script)
    return subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=False, timeout=30)


def test_read_only() -> None:
    """A ledger that cannot be written is refused: nothing may run then."""
    done = run_as_nobody("""
        async def main():
            ledger = await Ledger.open(path)
            await ledger.close()
            (folder / "other.db.lock").touch(mode=0o600)
            path.chmod(0o400)
            folder.chmod(0o500)
            for name in ("ledger.db", "other.db"):
                try:
                    await Ledger.open(folder / name)
                except LedgerError as error:
                    print(error.code)
            folder.chmod(0o700)
            shutil.rmtree(folder)
        asyncio.run(main())
        """)
    assert done.stdout.split() == ["ledger_unavailable"] * 2, done.stderr


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Nothing is made outside an existing folder."""
    assert (await refused_open(tmp_path / "none" / "ledger.db")).code == "ledger_unavailable"


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
async def test_links_are_refused(tmp_path: Path, suffix: str) -> None:
    """A link in place of the ledger or a file beside it leads nowhere."""
    (tmp_path / "elsewhere").touch(mode=0o600)
    (tmp_path / f"ledger.db{suffix}").symlink_to(tmp_path / "elsewhere")
    assert (await refused_open(tmp_path / "ledger.db")).code == "ledger_unavailable"
    assert (tmp_path / "elsewhere").read_bytes() == b""


async def test_what_is_no_private_file_is_refused(tmp_path: Path) -> None:
    """Folders, files open to others, files of other users."""
    (tmp_path / "ledger.db").mkdir()
    assert "regular" in (await refused_open(tmp_path / "ledger.db")).message
    path = tmp_path / "open.db"
    await (await Ledger.open(path)).close()
    path.chmod(0o640)
    assert "0600" in (await refused_open(path)).message
    if os.geteuid() == 0:
        path.chmod(0o600)
        os.chown(path, 65534, -1)
        assert "another user" in (await refused_open(path)).message


async def test_a_log_without_its_ledger(tmp_path: Path) -> None:
    """A deleted ledger whose log is left is not begun anew."""
    path = tmp_path / "ledger.db"
    (tmp_path / "ledger.db-wal").touch(mode=0o600)
    assert (await refused_open(path)).code == "ledger_tampered"


def damaged(path: Path, statements: str) -> None:
    """Change a closed ledger as somebody would who owns the file."""
    with sqlite3.connect(path) as attacker:
        attacker.executescript(statements)
    attacker.close()


UNGUARDED = "DROP TRIGGER events_append_only_update; DROP TRIGGER events_append_only_delete;"


@pytest.mark.parametrize(
    "statements",
    [
        "UPDATE events SET body = replace(body, 'n-1', 'n-9') WHERE seq = 3;",
        "DELETE FROM events WHERE seq = 3;",
        "DELETE FROM events WHERE seq = 1;",
        "UPDATE events SET seq = 9 WHERE seq = 4;",
        "UPDATE events SET subject = 'other' WHERE seq = 3;",
        "UPDATE events SET runs = 1 WHERE seq = 3;",
        "UPDATE events SET type = 'other' WHERE seq = 3;",
        "UPDATE events SET body = CAST(x'ff' AS TEXT) WHERE seq = 3;",
    ],
)
async def test_a_changed_history_does_not_open(tmp_path: Path, statements: str) -> None:
    """Edits, deletions and changed index columns are found at the next start, though the triggers are back in place."""
    path = tmp_path / "ledger.db"
    await (await filled(path)).close()
    with sqlite3.connect(path) as attacker:
        query = "SELECT sql FROM sqlite_schema WHERE name IN ('events_append_only_update', 'events_append_only_delete')"
        triggers = [row[0] for row in attacker.execute(query)]
    attacker.close()
    damaged(path, UNGUARDED + statements + ";".join(triggers))
    assert (await refused_open(path)).code == "ledger_tampered"


@pytest.mark.parametrize(
    "statements",
    [
        UNGUARDED,
        "CREATE TABLE more (a);",
        "DROP INDEX events_runs;",
        "PRAGMA user_version = 2;",
        "CREATE TRIGGER t AFTER INSERT ON events BEGIN SELECT 1; END;",
    ],
)
async def test_a_changed_table_does_not_open(tmp_path: Path, statements: str) -> None:
    """Lost guards, more or fewer objects and another version are refused."""
    path = tmp_path / "ledger.db"
    await (await filled(path)).close()
    damaged(path, statements)
    assert (await refused_open(path)).code == "ledger_tampered"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET body = 'x'",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT 2, time, type, subject, runs, 'x', prev, hash FROM events WHERE seq = 2",
        "INSERT INTO events SELECT 9, time, type, subject, runs, body, hash, hash FROM events WHERE seq = 4",
        "INSERT INTO events SELECT 5, time, type, subject, runs, body, 'x', hash FROM events WHERE seq = 4",
    ],
)
async def test_the_table_only_grows_at_its_end(tmp_path: Path, statement: str) -> None:
    """Whoever uses SQL on it by mistake is stopped by the database itself."""
    path = tmp_path / "ledger.db"
    await (await filled(path)).close()
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    connection.close()


async def test_another_beginning_does_not_open(tmp_path: Path) -> None:
    """A sound chain that does not begin with the ledger's creation is no ledger."""
    path = tmp_path / "ledger.db"
    await (await Ledger.open(path)).close()
    body = '{"seq":1,"time":"2026-02-19T10:04:05.123Z","type":"note"}'
    values = f"1, '2026-02-19T10:04:05.123Z', 'note', NULL, 0, '{body}', '{chain.BEGINNING}'"
    trigger = "CREATE TRIGGER events_append_only_delete BEFORE DELETE ON events\n    BEGIN SELECT raise(ABORT, "
    damaged(
        path,
        f"DROP TRIGGER events_append_only_delete; DELETE FROM events;"  # noqa: S608 - an attacker's
        f"INSERT INTO events VALUES ({values}, '{chain.link(chain.BEGINNING, body)}');"
        f"{trigger}'the ledger is append-only'); END;",
    )
    assert "creation" in (await refused_open(path)).message


@pytest.mark.parametrize("page", [0, 1, 2, 3, 4, 5])
async def test_a_page_of_noise(tmp_path: Path, page: int) -> None:
    """Noise over any page of table or indexes: refused at the start or, in an index, when it is used."""
    path = tmp_path / "ledger.db"
    await (await filled(path)).close()
    with path.open("r+b") as raw:
        raw.seek(page * 4096)
        raw.write(b"\xa5" * 4096)
    try:
        ledger = await Ledger.open(path)
        ledger.open_runs()
        ledger.read(type="note", subject="n-1")
    except LedgerError as error:
        code = error.code
    else:
        code = await refused_append(ledger)
        await ledger.close()
    assert code == "ledger_tampered"


async def test_a_failed_read_latches(tmp_path: Path) -> None:
    """What cannot be read cannot be relied on: no more appends either."""
    path = tmp_path / "ledger.db"
    ledger = await filled(path)
    ledger._opened.reading.close()  # noqa: SLF001 - any error of SQLite's
    with pytest.raises(LedgerError):
        ledger.tail(1)
    assert ledger.latched is not None
    await ledger.close()


async def test_an_export_that_cannot_be_read(tmp_path: Path) -> None:
    """The error of an export is a refusal too."""
    path = tmp_path / "ledger.db"
    ledger = await filled(path)
    await ledger.close()
    path.write_bytes(os.urandom(8192))
    with pytest.raises(LedgerError):
        list(ledger.export())


KILLED = """
    async def main():
        ledger = await Ledger.open(path)
        print(path, flush=True)
        async def caller(name):
            while True:
                entry = await ledger.append("note", {"id": name, "text": "x" * 200})
                os.write(1, f"{entry.seq} {entry.hash}\\n".encode())
        await asyncio.gather(*(caller(f"c-{n}") for n in range(4)))
    asyncio.run(main())
    """


def killed_output(script: str, after: float) -> list[list[str]]:
    """Words of the whole lines that `script` printed after its first, until it was killed `after` seconds later."""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after)
        process.kill()
        return [line.split() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize("after", [0.05, 0.2])
async def test_killed_in_the_middle(tmp_path: Path, after: float) -> None:
    """Kill -9 at any moment: the ledger opens, and every acknowledged event is in it, in its place."""
    script = f"""
import asyncio, os
from pathlib import Path
from gate.audit.ledger import Ledger
path = Path({str(tmp_path / "ledger.db")!r})
{textwrap.dedent(KILLED)}"""
    acknowledged = await asyncio.to_thread(killed_output, script, after)
    ledger = await Ledger.open(tmp_path / "ledger.db")
    stored = {entry.seq: entry.hash for entry in ledger.export()}
    assert acknowledged
    assert all(stored[int(seq)] == digest for seq, digest in acknowledged)
    assert (await ledger.append("note", {})).seq == len(stored) + 1
    await ledger.close()


async def test_a_writer_that_fails_unforeseen(tmp_path: Path) -> None:
    """Whatever is raised in the writer, who waits is refused and the ledger is closed."""
    ledger = await filled(tmp_path / "ledger.db")
    ledger._opened.writer.now = lambda: 1 // 0  # noqa: SLF001 - a mistake of ours
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    await assert_latched(ledger, "ledger_unavailable")


async def test_a_log_that_goes_while_it_is_written(tmp_path: Path) -> None:
    """What happens to the files between look and commit is found right after it; nothing is acknowledged."""
    path = tmp_path / "ledger.db"
    ledger = await filled(path)
    connection = ledger._opened.writer.connection  # noqa: SLF001 - the moment between look and commit
    connection.set_trace_callback(lambda text: path.unlink(missing_ok=True) if text == "COMMIT" else None)
    await assert_latched(ledger, "ledger_tampered")
