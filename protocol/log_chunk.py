"""What a task wrote, on its way from a worker to the logkeeper. No event: nothing is decided because of it."""

from typing import Annotated

import msgspec

from .limits import LOG_CHUNK_BYTES_MAX, NUMBER_MAX, OFFSET_MAX
from .messages import AttemptMessage
from .names import UNMAPPED


class LogChunk(AttemptMessage, frozen=True, kw_only=True, tag="log_chunk"):
    """A piece of what an attempt wrote: `data` stands for `size` bytes of its log, from `offset` on.

    Each poll of an attempt counts its own from 0.

    They differ where a secret is masked or a byte is no text. `eof`: nothing follows. The same piece may come twice.
    """

    map_index: Annotated[int, msgspec.Meta(ge=UNMAPPED, le=NUMBER_MAX)] = UNMAPPED
    try_number: Annotated[int, msgspec.Meta(ge=1, le=NUMBER_MAX)] = msgspec.field(name="try")
    offset: Annotated[int, msgspec.Meta(ge=0, le=OFFSET_MAX)]
    size: Annotated[int, msgspec.Meta(ge=0, le=LOG_CHUNK_BYTES_MAX)]
    data: Annotated[str, msgspec.Meta(max_length=LOG_CHUNK_BYTES_MAX)]
    eof: bool = False
    poll: Annotated[int, msgspec.Meta(ge=1, le=NUMBER_MAX)] = 1
