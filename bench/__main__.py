"""Runs benchmarks and writes their figures beside their bounds.

    python -m bench [search insert open count ...] [--rounds 5] [--scale 1] [--data vectors.npy]
                    [--out bench-results] [--work bench-results/data] [--peer URI] [--sentences texts.parquet]

Without names all are run. `--work` keeps prepared databases between runs. The machine should be quiet; the load
average stands beside every figure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import counting, filtering, inserting, kinds, opening, report, searching, sparse, tenants, unindexed
from bench.context import Context
from bench.data import Source
from bench.measure import MIN_ROUNDS, load
from bench.report import Figure

BENCHMARKS: dict[str, tuple[str, Callable[[Context], list[Figure]]]] = {
    "search": ("native search against bare faiss, the same graph", searching.quiet),
    "busy": ("search while rows arrive and indexes are built", searching.busy),
    "insert": ("durable inserts, in batches and row by row", inserting.run),
    "open": ("open to the first correct search, 1,000,000 rows", opening.large),
    "many": ("open with 10,000 collections; idle CPU", opening.many),
    "count": ("count(*) with a filter on sealed rows", counting.run),
    "filter": ("count(*) by filters through gRPC, with scalar indexes and without", filtering.run),
    "unindexed": (
        "count(*) by filters without indexes, sealed and growing; searches while JSON is counted",
        unindexed.run,
    ),
    "sparse": ("searches of sparse vectors, TF-IDF of sentences, through gRPC", sparse.run),
    "kinds": ("every kind of dense index: build, size, queries a second at a recall", kinds.run),
    "tenant": ("searches within one tenant of a collection with a partition key, through gRPC", tenants.run),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = "\n".join(f"  {name:<8} {what}" for name, (what, _) in BENCHMARKS.items())
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", help="which; all unless said")
    parser.add_argument("--rounds", type=int, default=MIN_ROUNDS, help="rounds of A and B in turn, at least 5")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows, for a trial")
    parser.add_argument("--data", type=Path, help="a .npy of real embeddings in place of drawn vectors")
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    parser.add_argument("--work", type=Path, help="where prepared databases are kept (default: OUT/data)")
    parser.add_argument("--peer", metavar="URI", help="a running Milvus, to be measured beside by `filter`")
    parser.add_argument("--sentences", type=Path, help="a Parquet file with texts, for `sparse`")
    arguments = parser.parse_args()

    dim = int(np.load(arguments.data, mmap_mode="r").shape[1]) if arguments.data else 128
    context = Context(
        out=arguments.out,
        work=arguments.work or arguments.out / "data",
        rounds=arguments.rounds,
        scale=arguments.scale,
        source=Source(dim=dim, file=arguments.data),
        say=lambda text: print(text, flush=True),
        peer=arguments.peer,
        sentences=arguments.sentences,
    )
    print(f"{report.machine()}; load {load()}; vectors: {context.source.name}")
    figures: list[Figure] = []
    for name in arguments.names or BENCHMARKS:
        what, run = BENCHMARKS[name]
        print(f"\n{name}: {what}", flush=True)
        for figure in run(context):
            print(report.line(figure), flush=True)
            figures.append(figure)
        report.write(figures, context.out)
    missed = [f for f in figures if f.met is False]
    print(f"\n{len(figures)} figures, {len(missed)} of their bounds not met; see {context.out / 'results.md'}")
    return 1 if missed and context.scale == 1.0 else 0


if __name__ == "__main__":
    sys.exit(main())
