"""The evaluation job: an artifact and test photographs in, ``evaluation.json`` out.

A SageMaker processing job of the training image: ``processing/model/model.tar.gz``,
``processing/test/<count>/NAME.jpg`` and ``processing/manifest/manifest.csv`` in,
``processing/evaluation/{evaluation.json,predictions.csv}`` out. It scores the graph that is served.
"""

import csv
import json
import os
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from containers.common import manifest, metrics, paths
from containers.common.archive import unpack
from containers.common.errors import BinTallyError, DataError
from containers.common.graph import Graph

BATCH = 32


def evaluate(graph: Graph, folder: Path, records: list[manifest.Row]) -> tuple[dict, list[dict]]:
    """Score a graph on an ImageFolder tree of test photographs.

    Returns: (the document, one prediction per photograph). Raises DataError for an empty tree, a
    photograph that the manifest does not name, or one that cannot be decoded.
    """
    known = {row.name: row for row in records}
    photographs = [
        (path, int(path.parent.name)) for path in sorted(folder.glob("[0-9]*/*")) if path.is_file()
    ]
    if not photographs:
        raise DataError(f"no photographs below {folder}")
    strangers = [path.stem for path, _ in photographs if path.stem not in known]
    if strangers:
        raise DataError(
            f"the manifest does not name {len(strangers)} of the photographs, {strangers[0]} first"
        )
    classes, true = graph.card.classes, np.array([count for _, count in photographs])
    probabilities = np.concatenate(list(_predict(graph, [path for path, _ in photographs])))
    counted = np.asarray(classes)[probabilities.argmax(1)]
    # What someone who sees no photograph would always answer: the commonest count in training.
    commonest = Counter(row.count for row in records if row.split == "train").most_common(1)[0][0]
    bins = [known[path.stem].group for path, _ in photographs]
    document = {
        "model": graph.card.name,
        "data": {
            "fingerprint": manifest.fingerprint(records),
            "photographs": len(photographs),
            "bins": len(set(bins)),
        },
        "trained_on_this_data": graph.card.data["fingerprint"] == manifest.fingerprint(records),
        "metrics": metrics.score(probabilities, true, classes, bins),
        "baselines": {"majority_class": {"count": commonest, "accuracy": float((true == commonest).mean())}},
        "by_count": {
            str(n): {
                "photographs": int((true == n).sum()),
                "accuracy": metrics.accuracy(counted[true == n], true[true == n]),
            }
            for n in classes
            if (true == n).any()
        },
        "confusion": {str(n): [int(((true == n) & (counted == m)).sum()) for m in classes] for n in classes},
    }
    rows = [
        {
            "name": path.stem,
            "count": int(n),
            "counted": int(c),
            **{f"p{m}": round(float(p), 6) for m, p in zip(classes, row, strict=True)},
        }
        for (path, n), c, row in zip(photographs, counted, probabilities, strict=True)
    ]
    return document, rows


def _predict(graph: Graph, files: list[Path]):
    """Probabilities ``[n, classes]`` batch by batch; decoding runs beside the network."""

    def prepare(path: Path) -> np.ndarray:
        try:
            return graph.prepare(path.read_bytes())
        except BinTallyError as error:
            raise DataError(f"{path.name}: {error}") from None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), BATCH):
            yield graph(np.stack(list(pool.map(prepare, files[start : start + BATCH]))))
            done = min(start + BATCH, len(files))
            if done == len(files) or done // 1000 > start // 1000:
                print(f"evaluated {done}/{len(files)} photographs", flush=True)


def main() -> int:
    try:
        records = manifest.read(paths.processing("manifest", manifest.FILE))
        with tempfile.TemporaryDirectory() as folder:
            unpack(paths.processing("model", "model.tar.gz"), Path(folder))
            graph = Graph(Path(folder), threads=len(os.sched_getaffinity(0)))
            document, rows = evaluate(graph, paths.processing("test"), records)
    except (BinTallyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        paths.failure().parent.mkdir(parents=True, exist_ok=True)
        paths.failure().write_text(str(error))
        return 1
    target = paths.processing("evaluation")
    target.mkdir(parents=True, exist_ok=True)
    (target / "evaluation.json").write_text(json.dumps(document, indent=2) + "\n")
    with (target / "predictions.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    scores = document["metrics"]
    print(
        f"accuracy={scores['accuracy']['value']:.4f} rmse={scores['rmse']['value']:.4f} "
        f"photographs={len(rows)}",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
