"""The evaluation job: an artifact and test photographs in, ``evaluation.json`` and its page out.

A SageMaker processing job of the training image. Below ``processing/``, in:
``model/model.tar.gz``, ``test/<count>/NAME.jpg``, ``validation/<count>/NAME.jpg`` and
``manifest/manifest.csv``; out: ``evaluation/{evaluation.json,evaluation.html,predictions.csv}``.
It scores the graph that is served. Validation photographs only fit thresholds.

With ``--challenge ENDPOINT`` the artifact is a challenger: what that endpoint serves is scored on the
same test photographs, and the document also says whether the challenger is to be promoted.
"""

import argparse
import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from containers.common import deployment, job, manifest, metrics, paths
from containers.common.archive import unpack
from containers.common.errors import BinTallyError, DataError, ModelError, SettingsError
from containers.common.graph import Graph
from containers.train import baselines, calibration, champion, comparison, detection, evaluation_page
from containers.train.detection import Scored

BATCH = 32


def evaluate(
    graph: Graph,
    folders: dict[str, Path],
    records: Sequence[manifest.Row],
    wrong: float = detection.WRONG_RECORDS,
) -> tuple[dict, list[dict]]:
    """Score a graph on an ImageFolder tree of test photographs.

    folders: the trees of ``test`` and ``validation``. wrong: share of records assumed to be wrong.
    Returns: (the document, one prediction per test photograph). Raises DataError for an empty tree, a
    photograph that the manifest does not name, a bin on both sides, or a photograph that cannot be decoded.
    """
    photographs = {side: _photographs(folders[side], records, graph.card.classes) for side in folders}
    bins = {row.name: row.group for row in records}
    shared = set.intersection(*({bins[path.stem] for path in files} for files in photographs.values()))
    if shared:
        raise DataError(
            f"{len(shared)} bins are tested on and fitted on, {min(shared)} among them: "
            "thresholds must come from other bins than those they are tested on"
        )
    validation, test = (_score(graph, photographs[side], bins, side) for side in ("validation", "test"))
    names = [path.stem for path in photographs["test"]]
    fingerprint = manifest.fingerprint(records)
    document = {
        "model": graph.card.name,
        "data": {
            "fingerprint": fingerprint,
            "photographs": len(names),
            "bins": len(set(test.bins)),
            "validation_photographs": len(validation.true),
        },
        "trained_on_this_data": graph.card.data["fingerprint"] == fingerprint,
        **_scores(test),
        "baselines": baselines.baselines(records, names, test.classes),
        "detection": detection.detect(validation, test, graph.card.thresholds, wrong),
    }
    return document, _predictions(names, test)


def challenge(
    document: dict,
    predictions: Sequence[dict],
    endpoint: str,
    level: float,
    folder: Path,
    records: Sequence[manifest.Row],
) -> dict:
    """``champion``, ``comparison`` and ``decision`` for a challenger that ``evaluate`` has scored.

    folder: the tree of test photographs. Where there is no endpoint the challenger must beat the majority
    class. Raises ServiceError for a champion that cannot be had, ModelError for one of other classes.
    """
    bins = {row.name: row.group for row in records}
    true, counted = (np.array([row[key] for row in predictions]) for key in ("count", "counted"))
    live = champion.deployed(endpoint)
    if live is None:
        majority = document["baselines"]["majority_class"]["count"]
        name, others, about = f"always answering {majority}", np.full(len(true), majority), None
    else:
        graph = champion.load(live, threads=len(os.sched_getaffinity(0)))
        name, classes = graph.card.name, graph.card.classes
        if list(map(str, classes)) != list(document["confusion"]):
            raise ModelError(f"the champion {name} counts {classes}, the challenger other classes")
        print(f"the champion is {name}, of endpoint configuration {live.configuration}", flush=True)
        scored = _score(graph, _photographs(folder, records, classes), bins, "test")
        others = np.asarray(classes)[scored.probabilities.argmax(1)]
        same = graph.card.data["fingerprint"] == document["data"]["fingerprint"]
        about = {"model": name, **asdict(live), "trained_on_this_data": same}
    compared = comparison.compare(
        counted == true, others == true, [bins[row["name"]] for row in predictions], level
    )
    decision = comparison.decide(document["model"], name, compared)
    if about and not about["trained_on_this_data"]:
        decision["reason"] += (
            f" (careful: {name} was trained on another data set; if it learnt from these bins there, the "
            "gain is too small)"
        )
    return {"champion": about, "comparison": {"against": name, **compared}, "decision": decision}


def _scores(test: Scored) -> dict[str, object]:
    classes, true, probabilities = np.asarray(test.classes), test.true, test.probabilities
    counted, confidence = classes[probabilities.argmax(1)], probabilities.max(1)
    correct, resamples = counted == true, metrics.Resamples(test.bins)
    shares = {
        n: [resamples.ratio(((true == n) & (counted == m)).astype(float), true == n) for m in classes]
        for n in test.classes
    }
    recall = {n: row[index] for index, (n, row) in enumerate(shares.items())}
    return {
        "metrics": {
            **metrics.score(probabilities, true, test.classes, test.bins),
            "ece": calibration.expected_error(confidence, correct, resamples),
        },
        "by_count": {
            str(n): {
                "photographs": int((true == n).sum()),
                "accuracy": share["value"],
                "low": share["low"],
                "high": share["high"],
            }
            for n, share in recall.items()
            if share
        },
        "confusion": dict(zip(map(str, classes), metrics.confusion(true, counted, classes), strict=True)),
        "confusion_shares": {str(n): row for n, row in shares.items()},  # of a true count; None without one
        "calibration": {
            "reliability": calibration.reliability(confidence, correct, resamples),
            "risk_coverage": calibration.risk_coverage(confidence, correct, resamples),
        },
    }


def _predictions(names: Sequence[str], test: Scored) -> list[dict]:
    counted = np.asarray(test.classes)[test.probabilities.argmax(1)]
    return [
        {
            "name": name,
            "count": int(n),
            "counted": int(c),
            **{f"p{m}": round(float(p), 6) for m, p in zip(test.classes, row, strict=True)},
        }
        for name, n, c, row in zip(names, test.true, counted, test.probabilities, strict=True)
    ]


def _photographs(folder: Path, records: Sequence[manifest.Row], classes: Sequence[int]) -> list[Path]:
    """The files of an ImageFolder tree, in a fixed order, all of them known to the manifest."""
    photographs = [path for path in sorted(folder.glob("[0-9]*/*")) if path.is_file()]
    if not photographs:
        raise DataError(f"no photographs below {folder}")
    manifest.check(records, (path.stem for path in photographs))
    uncounted = [path for path in photographs if path.parent.name not in map(str, classes)]
    if uncounted:
        raise DataError(f"{uncounted[0]}: the model counts {classes[0]} to {classes[-1]} items only")
    return photographs


def _score(graph: Graph, photographs: Sequence[Path], bins: dict[str, str], side: str) -> Scored:
    return Scored(
        np.concatenate(list(_predict(graph, photographs, side))),
        np.array([int(path.parent.name) for path in photographs]),
        graph.card.classes,
        [bins[path.stem] for path in photographs],
    )


def _predict(graph: Graph, files: Sequence[Path], side: str) -> Iterator[np.ndarray]:
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
                print(f"evaluated {done}/{len(files)} {side} photographs", flush=True)


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m containers.train.evaluate")
    parser.add_argument("--wrong-records", type=float, default=detection.WRONG_RECORDS)
    parser.add_argument("--challenge", metavar="ENDPOINT")
    parser.add_argument("--level", type=float, default=deployment.LEVEL)
    flags = parser.parse_args(arguments)
    if not 0 < flags.wrong_records < 1:
        raise SettingsError(
            f"wrong-records is {flags.wrong_records:g}: it is a share of all records, between 0 and 1"
        )
    if not 0.5 < flags.level < 1:
        raise SettingsError(f"level is {flags.level:g}: it is a confidence, between 0.5 and 1")
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        flags = _flags(arguments)
        records = manifest.read(paths.processing("manifest", manifest.FILE))
        with tempfile.TemporaryDirectory() as folder:
            unpack(paths.processing("model", "model.tar.gz"), Path(folder))
            graph = Graph(Path(folder), threads=len(os.sched_getaffinity(0)))
            folders = {side: paths.processing(side) for side in ("validation", "test")}
            document, rows = evaluate(graph, folders, records, flags.wrong_records)
        if flags.challenge:
            document |= challenge(document, rows, flags.challenge, flags.level, folders["test"], records)
    except (BinTallyError, OSError) as error:
        return job.failed(error, str(error))
    target = paths.processing("evaluation")
    target.mkdir(parents=True, exist_ok=True)
    (target / "evaluation.json").write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
    (target / "evaluation.html").write_text(evaluation_page.page(document))
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
    if flags.challenge:
        print(document["decision"]["reason"], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
