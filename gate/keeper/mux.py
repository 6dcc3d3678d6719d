"""Many conversations over one connection: the door of MCP has as many calls at once as its client. Knows no operation.

Every frame of either side but the first carries `call`, the number of its conversation; a conversation begins with the
frame that has an `op` and is one of those that a connection of its own would be (docs/protocol.md, mux).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from gate.errors import GateError
from gate.keeper import members, protocol
from gate.keeper.server import Handler, Message, Session, answer, frame_of

_MOST = 128
# No number of a conversation: insisted on, as every other improper one is refused.
_MISSING = -1
# A door has a handful of frames to say in a conversation.
_MOST_UNHEARD = 16
_TOO_MANY = GateError("limit", "too many calls at once", remedy="Let some of them end.")


@dataclass(slots=True)
class Channel(Session):
    """One conversation: to an operation it is a connection of its own."""

    number: int = 0
    frames: asyncio.Queue[Message | None] = field(default_factory=asyncio.Queue)

    async def send(self, message: Message) -> None:
        """Send one frame of this conversation. Raises protocol.Gone when the door has left."""
        await Session.send(self, {"call": self.number, **message})

    async def receive(self) -> Message | None:
        """The next frame of this conversation, None when the door has left."""
        return await self.frames.get()


async def mux(handlers: Mapping[str, Handler], session: Session, message: Message) -> None:
    """Serve conversations until the door leaves, then end all of them.

    One that is too many is refused for itself. Raises GateError `usage` for a frame of no conversation, `limit` for a
    door that goes on talking without being heard.
    """
    del message
    channels: dict[int, Channel] = {}
    tasks: set[asyncio.Task[None]] = set()
    try:
        while (frame := await session.receive()) is not None:
            number = members.number(frame, "call", _MISSING)
            channel = channels.get(number)
            if channel is not None:
                _pass_on(channel, frame)
                continue
            channel = Channel(session.peer, session.reader, session.writer, session.tokens, number)
            if len(channels) >= _MOST:
                await channel.send({"error": frame_of(_TOO_MANY)})
                continue
            channels[number] = channel
            task = asyncio.create_task(_converse(handlers, channel, frame, channels))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    except protocol.Gone:
        return
    finally:
        for channel in channels.values():
            channel.frames.put_nowait(None)
        if tasks:
            await asyncio.wait(tasks)


def _pass_on(channel: Channel, frame: Message) -> None:
    if channel.frames.qsize() >= _MOST_UNHEARD:
        raise GateError("limit", "the door sent more than it was asked for", remedy="Update the door.")
    channel.frames.put_nowait(frame)


async def _converse(
    handlers: Mapping[str, Handler], channel: Channel, frame: Message, channels: dict[int, Channel]
) -> None:
    try:
        await answer(handlers, channel, frame)
    finally:
        del channels[channel.number]
