"""A bucket of an object store, or a part of one, as a flat space of keys: S3, GCS, Azure and what speaks like them.

`obstore` sends the requests and tries again what failed in passing. What it cannot know is added here: whether a put
that failed, or that found its key taken, was done all the same. Each put carries a mark drawn at random with the
object; whoever is in doubt reads the mark back. So a put whose answer was lost is done once, and is known to be done.

Files too long for one request go up in parts, which stores do not all let exclude others. Only `upload` does that, of
keys that nobody else can choose.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import from_url

from elanus.model.errors import InvalidParameter, KeyExists, KeyNotFound, StoreError
from elanus.store.base import check_key

SCHEMES = ("s3", "gs", "az")

PATIENCE_S = 60.0
"""A store that does not answer, or answers that it is busy, is asked again for so long."""

REQUEST_S = 60.0
"""One request that takes longer is given up and sent again."""

PART_BYTES = 8 << 20
"""Longer files go up and come down in parts of this size."""

PARTS_AT_ONCE = 4

_MARK = "elanusmark"
"""The attribute that says which put an object is from."""

_PROBES = 4
"""Puts of one key at once, of which a store has to let one return."""

_LEAST_REST_S, _LONGEST_REST_S = 0.05, 2.0
"""Between two looks at what became of a put."""

_REFUSED = (PermissionDeniedError, UnauthenticatedError)
_WRONG = "status code: 4"
"""In what obstore says of a request that would be refused again."""

_TOO_SLOW = "RequestTimeout"
"""What S3 says, as a request's fault, where its body did not come in time."""

_TAKEN = (AlreadyExistsError, PreconditionError)

T = TypeVar("T")


class Bucket:
    """The objects whose names begin with the path of a URL. Safe to use from any thread.

    Keys are those of a `Store`, and so is what a put promises: of all that put a key one returns and the others raise
    `KeyExists`; one that raised `StoreError` may have happened.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, patience_s: float = PATIENCE_S) -> None:
        """`options` are obstore's for the store in question, beside what the environment says (`AWS_REGION`, …).

        Raises `InvalidParameter` for a URL that names no bucket.
        """
        self.url = url.rstrip("/")
        self._patience_s = patience_s
        scheme, _, rest = self.url.partition("://")
        if scheme not in SCHEMES or not rest.partition("/")[0]:
            raise InvalidParameter(
                f"{url} names no bucket: write s3://bucket/path, gs://bucket/path or az://container/path"
            )
        given: dict[str, Any] = dict(options or {})
        # It is http only where somebody has written http:// into an endpoint.
        client = {"timeout": f"{REQUEST_S:g}s", "connect_timeout": "5s", "allow_http": True}
        retries: Any = {
            "max_retries": 1_000,
            "retry_timeout": timedelta(seconds=patience_s),
            "backoff": {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(seconds=2), "base": 2},
        }
        try:
            open_store: Any = from_url  # typed for each kind of store by itself
            self._store = open_store(self.url, client_options=client, retry_config=retries, **given)
        except (BaseError, ValueError) as error:
            raise InvalidParameter(f"{url} cannot be used: {_first_line(error)}") from error

    def put(self, key: str, data: bytes) -> None:
        check_key(key)
        mark = secrets.token_hex(16)
        rests = self._rests()
        while True:
            try:
                obstore.put(self._store, key, data, mode="create", use_multipart=False, attributes={_MARK: mark})
                return
            except _TAKEN as error:
                try:
                    if self._mark_of(key) == mark:  # an earlier attempt, the answer to which was lost
                        return
                except KeyNotFound:  # a put of it is under way, perhaps our own
                    self._rest(rests, "write", key, error, wrong=False)
                    continue
                raise KeyExists(f"{key} exists: objects are put once and never changed") from None
            except FileNotFoundError as error:
                raise StoreError(
                    f"cannot write {self.url}/{key}: {_first_line(error)}: is there such a bucket?"
                ) from error
            except BaseError as error:
                self._rest(rests, "write", key, error, wrong=_is_wrong(error))
            with suppress(KeyNotFound):
                if self._mark_of(key) == mark:
                    return

    def overwrite(self, key: str, data: bytes) -> None:
        """Put `data` as `key`, whatever is there. For what only one process writes, and nobody relies on."""
        check_key(key)
        self._ask("write", key, lambda: obstore.put(self._store, key, data, use_multipart=False))

    def upload(self, key: str, path: Path) -> None:
        """Put a file. One of more than `PART_BYTES` goes up in parts and does not exclude others: nobody else may know
        its key.
        """
        if path.stat().st_size <= PART_BYTES:
            self.put(key, path.read_bytes())
            return
        check_key(key)
        if self._is_there(key):
            raise KeyExists(f"{key} exists: objects are put once and never changed")

        def send() -> None:
            obstore.put(
                self._store, key, path, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )

        self._ask("write", key, send)

    def get(self, key: str) -> bytes:
        """Raises `KeyNotFound`."""
        return bytes(self._ask("read", key, lambda: obstore.get(self._store, key).bytes()))

    def get_range(self, key: str, begin: int, length: int) -> bytes:
        """The bytes from `begin` on, `length` of them, all of which have to be there. Raises `KeyNotFound`."""
        found = bytes(self._ask("read", key, lambda: obstore.get_range(self._store, key, start=begin, length=length)))
        if len(found) != length:
            raise StoreError(f"cannot read {key}: it ends before byte {begin + length}")
        return found

    def download(self, key: str, path: Path) -> int:
        """Write the object to the new file `path`, and return its length. Raises `KeyNotFound`."""
        size = self.size(key)
        with path.open("xb") as file:
            file.truncate(size)

            def fetch(begin: int) -> None:
                data = self.get_range(key, begin, min(PART_BYTES, size - begin))
                with path.open("r+b") as part:
                    part.seek(begin)
                    part.write(data)

            begins = range(0, size, PART_BYTES)
            if len(begins) > 1:
                with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="elanus-fetch") as pool:
                    list(pool.map(fetch, begins))
            elif size:
                fetch(0)
        return size

    def size(self, key: str) -> int:
        """The object's length in bytes. Raises `KeyNotFound`."""
        return int(self._ask("look at", key, lambda: obstore.head(self._store, key))["size"])

    def keys(self, prefix: str) -> list[str]:
        """All keys that begin with `prefix`, sorted."""
        return sorted(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """The lengths in bytes of all objects whose keys begin with `prefix`."""
        folder = prefix.rpartition("/")[0]

        def listed() -> dict[str, int]:
            pages = obstore.list(self._store, folder or None)
            return {entry["path"]: entry["size"] for page in pages for entry in page}

        return {key: size for key, size in self._ask("list", prefix, listed).items() if key.startswith(prefix)}

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects. An absent one is no error."""
        wanted = list(keys)
        for key in wanted:
            check_key(key)
        if not wanted:
            return
        try:
            self._ask("delete", wanted[0], lambda: obstore.delete(self._store, wanted))
        except KeyNotFound:  # some stores say so, and stop there
            for key in wanted:
                with suppress(KeyNotFound):
                    self._ask("delete", key, lambda key=key: obstore.delete(self._store, key))  # type: ignore[misc]

    def probe(self) -> None:
        """Raise `StoreError` where conditional puts do not exclude each other, or what was put is not what is read."""
        key = f"probe/{secrets.token_hex(8)}"
        values = [f"{n}".encode() for n in range(_PROBES)]

        def wins(data: bytes) -> bool:
            try:
                self.put(key, data)
            except KeyExists:
                return False
            return True

        try:
            with ThreadPoolExecutor(_PROBES) as pool:
                won = [data for data, winner in zip(values, pool.map(wins, values), strict=True) if winner]
            again = wins(b"again")
            found = self.get(key)
        finally:
            with suppress(StoreError):
                self.delete([key])
        if len(won) != 1 or again or found != won[0]:
            raise StoreError(
                f"{self.url} cannot hold a database: of several that put one object, it let {len(won) + again} win, "
                "and two writers could not be told apart. Use a store with conditional puts (If-None-Match)."
            )

    # --- how it is asked ---------------------------------------------------------------------------------------------

    def _ask(self, doing: str, key: str, request: Callable[[], T]) -> T:
        """What `request` returns, made again where it failed: obstore does so, but not where an answer breaks off."""
        rests = self._rests()
        while True:
            try:
                return request()
            except FileNotFoundError:
                raise KeyNotFound(f"there is no object {key}: it was never put, or has been deleted") from None
            except BaseError as error:
                self._rest(rests, doing, key, error, wrong=_is_wrong(error))

    def _rests(self) -> Iterator[float]:
        """How long to rest before each further attempt, until patience is over."""
        until, rest_s = time.monotonic() + self._patience_s, _LEAST_REST_S
        while time.monotonic() < until:
            yield rest_s
            rest_s = min(2 * rest_s, _LONGEST_REST_S)

    def _rest(self, rests: Iterator[float], doing: str, key: str, error: BaseError, *, wrong: bool) -> None:
        """Wait before another attempt; raise where there is none, as there is where the request is `wrong`."""
        refused = isinstance(error, _REFUSED)
        rest_s = None if wrong or refused else next(rests, None)
        if rest_s is None:
            advice = "check the credentials and what they allow" if refused else "try again"
            raise StoreError(f"cannot {doing} {self.url}/{key}: {_first_line(error)}: {advice}") from error
        time.sleep(rest_s)

    def _mark_of(self, key: str) -> str | None:
        """Which put the object is from; None where it does not say."""
        found = self._ask("look at", key, lambda: obstore.get(self._store, key, options={"head": True}))
        return found.attributes.get(_MARK)

    def _is_there(self, key: str) -> bool:
        try:
            self.size(key)
        except KeyNotFound:
            return False
        return True


def _is_wrong(error: BaseError) -> bool:
    """Whether the same request would be refused again."""
    return _WRONG in str(error) and _TOO_SLOW not in str(error)


def _first_line(error: Exception) -> str:
    """What obstore says, without the structures that it prints below."""
    return str(error).partition("\n")[0].strip().rstrip(".")
