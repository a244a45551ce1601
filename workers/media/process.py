"""The process that decodes and encodes media. ``python -m workers.media.process``, by a worker.

Decoders for pictures and sound are C that reads what strangers sent: they have crashed on damaged
files, and may hang. Here they cost one request. The process has no weights of the text model, takes
one medium at a time, is nicer than the worker, and is what the kernel kills first when memory is
short. It never runs another program: ffmpeg, which libmtmd would start for video, is not found.
"""

import contextlib
import logging
import os
import resource
import signal
import socket
from hashlib import sha256
from pathlib import Path

from workers import llama
from workers.llama.projector import MediumFailed, Projector, RowsPiece
from workers.media.headers import UnfitMedium, check
from workers.media.messages import (
    Encode,
    Encoded,
    LoadProjector,
    MediumRefused,
    MediumRows,
    ProjectorFailed,
    ProjectorLoaded,
    Reply,
    Request,
    Words,
)
from workers.parent import die_with_parent
from workers.protocol import FrameDecoder, MediaBounds, WorkerSpec, encode

READ_BYTES = 1 << 20
NICENESS = 5
"""Beside the worker's own: where all cores are busy, the streams have three quarters of them."""
EDGE = 1 << 20
"""Bytes of a projector's beginning and end that its key is made of."""
SLACK = 1.01
"""Resampled sound may be a little longer than its header says."""


def main() -> None:
    """Answer requests on standard input, a stream socket, until the worker hangs up."""
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the worker ends it
    os.nice(NICENESS)
    logging.disable()  # of each damaged file it would say several lines; the worker says one
    for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(what, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    sock = socket.socket(fileno=os.dup(0))
    with contextlib.suppress(ConnectionError):
        _serve(sock)


def _serve(sock: socket.socket) -> None:
    requests: FrameDecoder[Request] = FrameDecoder(Request)
    projector, bounds = None, MediaBounds()
    while data := sock.recv(READ_BYTES):
        for request in requests.feed(data):
            reply: Reply
            if isinstance(request, LoadProjector):
                bounds = request.spec.media
                try:
                    llama.initialise()
                    projector = Projector(request.spec)
                    reply = ProjectorLoaded(projector.sees, projector.hears, key_of(request.spec))
                except llama.LoadFailed as error:
                    reply = ProjectorFailed(str(error))
            else:
                assert projector is not None, "it was opened first"
                reply = _encode(projector, request, bounds)
            sock.sendall(encode(reply))


def _encode(projector: Projector, request: Encode, bounds: MediaBounds) -> Encoded | MediumRefused:
    try:
        check(request.data, request.kind, bounds)
        samples = int(bounds.seconds * projector.sample_rate * SLACK) + 1
        most = bounds.pixels if request.kind == "image" else samples
        pieces = projector.encode(request.data, most, rows=request.rows)
    except (UnfitMedium, MediumFailed) as error:
        return MediumRefused(str(error))
    except MemoryError:
        return MediumRefused("it takes more memory than there is")
    return Encoded([MediumRows(*p) if isinstance(p, RowsPiece) else Words(p) for p in pieces])


def key_of(spec: WorkerSpec) -> str:
    """Return what identifies a projector and how it makes rows."""
    assert spec.mmproj is not None
    hash_ = sha256()
    with open(spec.mmproj, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        hash_.update(file.read(EDGE))
        file.seek(max(0, size - EDGE))
        hash_.update(file.read(EDGE))
    bounds = spec.media
    hash_.update(f"{size} {bounds.image_min_tokens} {bounds.image_max_tokens}".encode())
    return hash_.hexdigest()


if __name__ == "__main__":
    main()
