"""The process that calls an author's function: by itself, or as a copy of a template, which has imported it already.

    python template.py CODE CALL     import the code, call the function that the file CALL names, and end
    python template.py CODE          import the code, say `ready`, and for each request fork a process that calls

CODE is JSON: kind, ref, path and digest of the code, where modules are looked for (`search`), and the environment in
which it is imported (`env`). Both ways import alike: with that environment, in the folder `/`. CALL holds JSON too:
function, args, kwargs. The function then finds the environment and the folder of its attempt.

A template hears the spawner through the socket _LINK. A request is `JOB CALL NAME=VALUE...` with three files: the log,
the working folder, the guard (see `spawner.py`). It is done by a copy of a copy: when the one in between ends, the
spawner, which adopts orphans, becomes the parent of the other. That says `JOB PID` before anything of the author's
runs, so the spawner knows all whom it buries. A template ends with its link, or when a file that it imported changed.

Only the standard library is imported here, and little of that. Each start without a template pays for it, and each copy
for the pages of memory that it touches: `threading` alone, with its hook for forks, would double what a fork costs.
"""

from __future__ import annotations  # so that the types below need not be imported

import atexit
import fcntl
import gc
import hashlib
import importlib
import json
import os
import signal
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    import traceback
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType
    from typing import Any, Final, NoReturn

    Request = tuple[bytes, tuple[int, ...]]
    Stamps = dict[str, tuple[int, int, int] | None]

_LINK: Final = 201
"""Where a template finds its socket: as in `templates.py`."""

_GUARD: Final = 200
"""Where a child finds the guard: as in the spawner."""

MARK: Final = b"HEADWAY_OUTPUT"
"""The variable by which a process is known to whoever looks for what a dead worker left."""

_MODULE_NAME: Final = "headway_dag_file"
"""How a file calls itself: as in the parser."""

RETURN_BYTES_MAX: Final = 64 * 1024
"""What an output may take: as in the protocol, which is not imported here."""

_REQUEST_BYTES_MAX: Final = 1 << 20
_MSG_DONTWAIT: Final = 0x40  # of socket, which only a template imports
_BATCH_MAX: Final = 16
"""Requests that are served by one copy in between: under load, half of what a start costs is shared."""

_FILES: Final = struct.Struct("3i")


class Refusal(Exception):
    """There is no such function, or what it returned is no output."""


def main(code: Mapping[str, Any], file: str | None) -> NoReturn:
    """Call the function that `file` names, or be a template."""
    if file is None:
        _serve(code)
    module = _load_alone(code)
    _call(module, _read_call(file))


# --- importing --------------------------------------------------------------------------------------------------------


def _load_alone(code: Mapping[str, Any]) -> ModuleType:
    with open("/proc/self/environ", "rb") as given:  # os.environb may hold LC_CTYPE, by Python itself
        variables = given.read().split(b"\0")[:-1]
    home = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    loaded: list[ModuleType] = []
    failed = run(lambda: loaded.append(_load(code)))
    if not loaded:
        _end(failed)
    _set_environment(_as_environment(variables))
    os.fchdir(home)
    os.close(home)
    return loaded[0]


def _load(code: Mapping[str, Any]) -> ModuleType:
    """Import what an author wrote; raise Refusal if it is not what it was a moment ago."""
    _set_environment({os.fsencode(name): os.fsencode(value) for name, value in code["env"].items()})
    os.chdir("/")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    path = code["path"]
    with open(path, "rb") as stream:
        body = stream.read()
    if f"sha256:{hashlib.sha256(body).hexdigest()}" != code["digest"]:
        raise Refusal(f"{path} was changed while this attempt was started")
    sys.path[:] = code["search"]
    sys.argv = [path]
    if code["kind"] == "module":
        return importlib.import_module(code["ref"])
    module = type(sys)(_MODULE_NAME)
    module.__file__ = path
    sys.modules[_MODULE_NAME] = module
    sys.path.insert(0, os.path.dirname(path))
    exec(compile(body, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - what this process is for
    return module


def _as_environment(variables: list[bytes]) -> dict[bytes, bytes]:
    return dict([variable.split(b"=", 1) for variable in variables])


def _set_environment(environment: Mapping[bytes, bytes]) -> None:
    found = dict(os.environb)
    for name in found.keys() - environment.keys():
        del os.environb[name]
    os.environb.update(environment.items() - found.items())


# --- calling ----------------------------------------------------------------------------------------------------------


def _read_call(file: str | bytes) -> dict[str, Any]:
    """Read what is to be called; the environment is the attempt's by now."""
    with open(file, "rb") as stream:
        call: dict[str, Any] = json.loads(stream.read())
    return call | {"output": os.environb[MARK]}


def _call(module: ModuleType, call: Mapping[str, Any]) -> NoReturn:
    """Call the function, write what it returns, and end."""
    for name in ("random", "numpy.random"):
        if name in sys.modules:
            sys.modules[name].seed()  # else all copies of a template would draw the same
    _end(run(lambda: _do(module, call)))


def _do(module: ModuleType, call: Mapping[str, Any]) -> None:
    """Call the function and write what it returns; raise what it raises, and Refusal."""
    name = call["function"]
    function = getattr(module, name, None)
    if not callable(function):
        raise Refusal(f"{module.__file__} has no function {name!r} at its top")
    value = function(*call["args"], **call["kwargs"])
    if value is None:
        return
    body = _as_json(value, name)
    if len(body) > RETURN_BYTES_MAX:
        raise Refusal(
            f"{name}() returned {len(body)} bytes of JSON, and may return {RETURN_BYTES_MAX}: "
            "put large results into a file and return its name"
        )
    with open(call["output"], "wb", opener=_create) as output:  # on a full disk os.write() would write a part
        output.write(body)


def _create(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)


def _as_json(value: object, name: str) -> bytes:
    def refuse(part: object) -> NoReturn:
        within = "" if part is value else f" in its {type(value).__name__}"
        raise Refusal(
            f"{name}() returned {type(part).__name__}{within}, which is not JSON: "
            "return None, text, numbers, true, false, and lists and dicts of them"
        )

    try:
        return json.dumps(value, default=refuse, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise Refusal(f"{name}() returned {type(value).__name__}, which is not JSON: {error}") from error


def run(act: Callable[[], object]) -> int:
    """Do something of an author's; return the exit code, and say on stderr what went wrong."""
    try:
        act()
    except SystemExit as error:
        if isinstance(error.code, int | None):
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)  # noqa: T201 - as Python does
    except Refusal as error:
        print(error, file=sys.stderr)  # noqa: T201 - its log is what an author reads
    except KeyboardInterrupt as error:
        _show(error)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException as error:  # noqa: BLE001 - whatever an author raises
        _show(error)
    else:
        return 0
    return 1


def _show(error: BaseException) -> None:
    """Write a traceback of the author's lines: none of ours, and none of what imports."""
    import traceback  # noqa: PLC0415 - most attempts need none

    told = traceback.TracebackException.from_exception(error)
    for one in _chain(told):
        kept = [line for line in one.stack if not line.filename.startswith((__file__, importlib.__file__, "<frozen "))]
        one.stack = traceback.StackSummary.from_list(kept) if kept else None  # type: ignore[assignment]  # no heading
    print(*told.format(), sep="", end="", file=sys.stderr)  # noqa: T201


def _chain(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    yield told
    for other in (told.__cause__, told.__context__, *(getattr(told, "exceptions", None) or ())):
        if other is not None:
            yield from _chain(other)


def _end(code: int) -> NoReturn:
    """End as Python does, threads and exit hooks first, but do not take modules apart: the system does that faster."""
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()  # noqa: SLF001 - as multiprocessing does
    atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


# --- being a template -------------------------------------------------------------------------------------------------


def _serve(code: Mapping[str, Any]) -> NoReturn:
    """Fork a copy for what has been requested, which forks one for each, which calls and does not come back.

    Whatever fails here is no matter: an attempt that finds no template imports the code itself, and then says why.
    """
    import socket  # noqa: PLC0415 - only a template needs it

    link, mark = socket.socket(fileno=_LINK), _Mark()
    link.set_inheritable(False)
    before = frozenset(sys.modules)
    loaded: list[ModuleType] = []
    run(lambda: loaded.append(_load(code)))
    if not loaded or _has_threads():
        os._exit(1)
    imported = _stamps(_files_of(before))
    gc.collect()
    gc.freeze()  # a collection in a copy would touch, and so copy, every page
    os.write(_LINK, b"ready")
    while True:
        requests = list(_receive(link, socket.CMSG_SPACE(_FILES.size)))
        if not requests or _stamps(imported) != imported:
            os._exit(0)
        between = os.fork()
        if between == 0:
            _serve_all(loaded[0], requests, mark)
        os.waitpid(between, 0)
        _close_files_of(requests)


def _serve_all(module: ModuleType, requests: list[Request], mark: _Mark) -> NoReturn:
    """Be the one in between: its end makes orphans of those it forks."""
    while requests:
        request, files = requests[-1]
        job, file, *variables = request.split(b"\0")
        _set_environment(_as_environment(variables))
        mark.write(os.environb[MARK])
        call = _read_call(file)
        if os.fork() == 0:
            _become(job, files)
            _close_files_of(requests)
            _call(module, call)
        _close_files_of([requests.pop()])
    os._exit(0)


def _close_files_of(requests: list[Request]) -> None:
    for _, files in requests:
        for number in files:
            os.close(number)


def _receive(link: socket.socket, size: int) -> Iterator[Request]:
    """Wait for a request, and yield it and those that have come with it; none if the link has ended."""
    flags = 0
    for _ in range(_BATCH_MAX):
        try:
            request, extra, _, _ = link.recvmsg(_REQUEST_BYTES_MAX, size, flags)
        except BlockingIOError:
            return
        if not request:
            return
        yield request, _FILES.unpack(extra[0][2])
        flags = _MSG_DONTWAIT


def _become(job: bytes, files: tuple[int, ...]) -> None:
    """Turn this copy into the process of an attempt."""
    log, folder, guard = files
    os.setsid()
    os.dup2(guard, _GUARD)
    pid = os.getpid()
    fcntl.fcntl(_GUARD, fcntl.F_SETOWN, -pid)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.fchdir(folder)
    try:
        os.write(_LINK, b"%b\0%d" % (job, pid))
    except OSError:
        os._exit(1)  # the spawner died, perhaps before the guard knew us
    os.close(_LINK)


def _has_threads() -> bool:
    """Say whether what was imported started threads: they would not be copied, and what they held locked stay so."""
    return "threading" in sys.modules and sys.modules["threading"].active_count() > 1


class _Mark:
    """Where in memory the kernel finds MARK for /proc/PID/environ: setting the variable does not change that."""

    def __init__(self) -> None:
        import ctypes  # noqa: PLC0415 - only a template needs it

        libc = ctypes.CDLL(None)
        libc.getenv.restype = ctypes.c_void_p
        self._place = libc.getenv(MARK)
        self._room = len(os.environb[MARK])
        self._write = ctypes.memmove

    def write(self, value: bytes) -> None:
        """Show a value there, if there is room."""
        if len(value) <= self._room:
            self._write(self._place, value + b"\0", len(value) + 1)


def _files_of(before: frozenset[str]) -> Iterator[str]:
    """Yield the files of all modules that were imported since `before`."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) if name not in before else None
        if isinstance(file, str):
            yield file


def _stamps(files: Iterable[str]) -> Stamps:
    """Return what tells whether files are what they were."""
    stamps: Stamps = {}
    for file in files:
        try:
            found = os.stat(file)
            stamps[file] = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            stamps[file] = None
    return stamps


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)  # noqa: PLR2004
