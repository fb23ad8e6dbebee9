"""The sandboxes of one function's configuration: kept warm, and grown with concurrency."""

import threading
from http import HTTPStatus

from localcloud.errors import AwsError
from localcloud.runtime import Runtime, UnknownImage
from localcloud.sandbox import Outcome, Sandbox
from localcloud.settings import Settings

MOST_SANDBOXES = 4  # per function; further invocations wait for one to be free
MOST_WAITING = 16  # per function; still further ones are throttled, since each holds a thread of the server


class Pool:
    """Safe for threads. A changed function gets a new pool, and its old one is retired."""

    def __init__(self, function: dict, settings: Settings, runtime: Runtime):
        self._function = function
        self._settings = settings
        self._runtime = runtime
        self._changed = threading.Condition()
        self._idle: list[Sandbox] = []
        self._busy: set[Sandbox] = set()
        self._waiting = 0  # events aside
        self._retired = False
        self._stopped = False

    def start(self, request_id: str, payload: bytes, client_context: str | None) -> None:
        """Invoke in the background, as an event: it waits for a sandbox, however many others do."""
        invocation = (request_id, payload, client_context, True)
        threading.Thread(target=self.invoke, args=invocation, name="event", daemon=True).start()

    def invoke(
        self, request_id: str, payload: bytes, client_context: str | None, is_event: bool = False
    ) -> Outcome:
        """Raises AwsError where no sandbox can be made, or where too many invocations wait for one."""
        sandbox = self._take(is_event)
        try:
            return sandbox.invoke(request_id, payload, client_context)
        finally:
            self._give_back(sandbox)

    def retire(self) -> None:
        """Invocations that have begun are finished; nothing is kept warm."""
        with self._changed:
            self._retired = True
            idle, self._idle = self._idle, []
        for sandbox in idle:
            sandbox.stop()

    def stop(self) -> None:
        """Kill every process."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            busy = list(self._busy)
        self.retire()
        for sandbox in busy:
            sandbox.stop()

    def _take(self, is_event: bool) -> Sandbox:
        with self._changed:
            while True:
                if self._stopped:
                    raise AwsError("ServiceException", "localcloud is being stopped.", 500)
                while self._idle:
                    sandbox = self._idle.pop()  # the one used last: the others may cool down
                    if sandbox.alive:
                        self._busy.add(sandbox)
                        return sandbox
                    sandbox.stop()
                if len(self._busy) < MOST_SANDBOXES:
                    try:
                        sandbox = Sandbox(self._function, self._settings, self._runtime)
                    except UnknownImage as error:
                        raise AwsError("InvalidParameterValueException", f"{error}.") from error
                    self._busy.add(sandbox)
                    return sandbox
                if not is_event and self._waiting >= MOST_WAITING:
                    raise AwsError("TooManyRequestsException", "Rate Exceeded.", HTTPStatus.TOO_MANY_REQUESTS)
                self._waiting += not is_event
                self._changed.wait()
                self._waiting -= not is_event

    def _give_back(self, sandbox: Sandbox) -> None:
        with self._changed:
            self._busy.discard(sandbox)
            keep = sandbox.alive and not self._retired
            if keep:
                self._idle.append(sandbox)
            self._changed.notify()
        if not keep:
            sandbox.stop()
