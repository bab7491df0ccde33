"""Every limit and default of the engine, once, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Bounds of one engine. The defaults suit two cores and a few GiB; tests shrink them to reach every state."""

    seal_rows: int = 131_072
    """A growing segment of so many rows is sealed: a scan of more without a graph is felt in every search."""

    seal_bytes: int = 256 * MIB
    """A growing segment of so many bytes is sealed: it is anonymous memory and replay time."""

    seal_burst_s: float = 2.0
    """A growing segment that was filled in less time, by rows that come as fast as they can, is sealed at twice the
    size or when it is so old: while they come, what is sealed takes the disk from the log."""

    seal_idle_rows: int = 4_096
    """A growing segment of so many rows is sealed once it is `seal_idle_s` old; fewer cost less to scan."""

    seal_idle_s: float = 30.0
    """How old a growing segment gets before `seal_idle_rows` is enough; bounds what a slow trickle leaves unindexed.
    Sealing more often makes more small graphs, all of which every search walks, and interim lists cost less."""

    index_min_rows: int = 1_024
    """Below so many rows an exact scan beats any graph, so none is built (Milvus draws the line at the same place)."""

    log_bytes: int = 256 * MIB
    """The log of all collections together; replaying so much takes about a second."""

    log_age_s: float = 600.0
    """A log so old is shortened where that is cheap, so that a quiet database too opens from its segments."""

    log_waste_bytes: int = 64 * MIB
    """So much of the log that is in segments already is worth a cut, where the rest is easily carried."""

    log_kept_s: float = 60.0
    """What the log of a bucket has dropped is deleted so much later: who follows it has read it by then."""

    carry_bytes: int = 16 * MIB
    """What small collections may take along in one carry record; the largest owners are sealed until the rest fits."""

    unsealed_bytes: int = 1024 * MIB
    """Growing memory above which a write waits for sealing: the queue between writers and disk has an end."""

    merge_fan_in: int = 4
    """Segments of like size that are merged into one: size-tiered, so a row is rewritten log4(n) times."""

    merge_max_rows: int = 4_000_000
    """No merge makes a segment larger than this: a rebuild of its graph has to end within an hour on two cores."""

    rebuild_dead_share: float = 0.2
    """Past this share of deleted rows a merge drops them and builds its graph anew instead of extending one."""

    retention_s: float = 600.0
    """How long superseded manifests, and the files only they name, are kept for history."""

    retry_s: float = 600.0
    """How long a write that named itself is known again. pymilvus tries one for under four minutes (75 times, at most
    3 s apart); a program that starts again and goes on where it was needs some more."""

    retry_writes: int = 32_768
    """How many such writes of one collection are known, in about 20 MB: all that pymilvus may still try at 130 a
    second, all of `retry_s` at 50."""

    build_memory_bytes: int = 4096 * MIB
    """What builder processes may use together; a job asks before it starts."""

    build_threads: int = 1
    """Threads of one build; with one build at a time on two cores, serving keeps the other."""

    builder_idle_s: float = 20.0
    """A builder process without work ends after this long, so an idle database costs nothing."""

    recall_cpu_ms: float = 20.0
    """Processor time in each second for measuring the recall of live searches: a fiftieth of one core, and a tenth of
    that once enough of them are known. 0 is off."""

    cache_folder: str = ""
    """Where files of a database in a bucket are kept on the local disk; "" is `elanus` in the user's cache folder."""

    cache_bytes: int = 64 * 1024 * MIB
    """How much they may take there, about: the longest unused go first."""

    local_log: str = ""
    """A folder for the log of a database in a bucket: what is there is acknowledged, and goes up behind. With its disk
    is lost what had not gone up (see `log/uploaded.py`). "" acknowledges what is in the bucket, and loses nothing."""

    local_log_s: float = 5.0
    """How old what has not gone up may get before writes wait: at most the writes of so long a time can be lost."""

    background: bool = True
    """Whether jobs run by themselves. Off in tests, which run them step by step."""
