"""The sections of ``monitor.html`` that have pictures; each is None where there is nothing to show."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from containers.train.monitor import figures
from containers.train.monitor.document import LOOKS, VERDICTS, wilson
from containers.train.monitor.drift import LEAST, MUCH, SOME
from containers.train.monitor.timeline import Timeline
from containers.train.page import Picture, Section

NAMES = {
    "brightness": "brightness",
    "sharpness": "sharpness",
    "megapixels": "size",
    "counts": "counts",
    "confidence": "confidence",
}


def traffic(document: Mapping, line: Timeline) -> Section:
    by_model = {m: [n or 0 for n in line.values(lambda w: w["records"], m)] for m in line.models}
    return Section("How many asked?", pictures=[Picture(figures.requests(line.times, by_model, line.step))])


def confidence(document: Mapping, line: Timeline) -> Section:
    baseline = document["live"]["baseline"]
    level = (baseline["answers"]["mean_confidence"], "the live model on validation") if baseline else None
    series = {m: line.values(lambda w: w["mean_confidence"], m) for m in line.models}
    text = (
        "The mean of the probability that the model gives to its own answer. It falls when photographs "
        "become harder than those that the model was made with, before anybody has counted."
    )
    picture = figures.lines(line.times, series, line.step, "mean confidence", level, True, least_top=1 / 1.08)
    return Section("How sure is it?", text, pictures=[Picture(picture)])


def counts(document: Mapping, line: Timeline) -> Section:
    names = [str(n) for n in document["live"]["classes"]]
    shares = _shares(line, names, lambda w, name: w["counts"][name])
    baseline = document["live"]["baseline"]
    beside = None
    text = "How many items the model counts, by window."
    if baseline:
        beside = {
            "in\ntraining": _parts(baseline["training_counts"]),
            "to vali-\ndation": _parts(baseline["answers"]["counts"]),
        }
        text += (
            " Beside it, how many items the training photographs hold, and what this model answered to the "
            "validation photographs: the second is what to compare with, since a model has habits."
        )
    picture = figures.stacked(
        line.times, shares, line.step, figures.count_colours(names), "share of answers", beside
    )
    return Section("What does it count?", text, pictures=[Picture(picture)])


def verdicts(document: Mapping, line: Timeline) -> Section | None:
    if not any(line.sums(_judged)):
        return None
    shares = _shares(line, VERDICTS, lambda w, name: w["verdicts"][name])
    text = (
        "Of requests that came with a recorded count. A mismatch is an alarm: somebody has to look into the "
        "bin. Unsure is neither."
    )
    picture = figures.stacked(line.times, shares, line.step, figures.VERDICT_COLOURS, "share of verdicts")
    return Section("What does it say about the records?", text, pictures=[Picture(picture)])


def photographs(document: Mapping, line: Timeline) -> Section | None:
    if not document["records"]["photographs_measured"]:
        return None
    baseline = document["live"]["baseline"]
    usual = {look: baseline["photographs"][look]["quantiles"] for look in LOOKS} if baseline else None
    seen = {look: line.fullest(lambda w, look=look: w[look]) for look in LOOKS}
    text = (
        "Brightness is the mean of the luma, from 0 to 255. Sharpness is the variance of its Laplacian: it "
        "falls with a dirty or shaking lens. Both are measured at the size that the network sees. The third "
        "is the size as it was sent."
    )
    return Section(
        "Do the photographs look as they did?",
        text,
        pictures=[Picture(figures.bands(line.times, seen, line.step, usual))],
    )


def drift(document: Mapping, line: Timeline) -> Section | None:
    series = {NAMES[name]: line.values(lambda w, name=name: w["drift"][name]) for name in NAMES}
    known = {name: values for name, values in series.items() if any(v is not None for v in values)}
    if not known:
        return None
    text = (
        f"One number for how far each of these has moved from validation: below {SOME:g} little, above "
        f"{MUCH:g} much. The drift alarm watches all but the size, since every photograph is brought to one "
        "size first: another camera is worth knowing of, and alone no reason to train. Windows with fewer "
        f"than {LEAST} requests, or photographs that were measured, have no point."
    )
    return Section(
        "Has anything moved?", text, pictures=[Picture(figures.drift(line.times, known, line.step))]
    )


def accuracy(document: Mapping, line: Timeline) -> Section:
    given, live = document["feedback"], document["live"]
    if not given["joined"]:
        text = (
            "Nobody has told. Once bins are counted by hand, put lines "
            f'{{"event_id": …, "count": …}} into any .jsonl below {given["place"]}: the event id comes with '
            "each captured record."
        )
        return Section("Was it right?", text)
    checked = line.sums(lambda w: w["feedback"]["checked"])
    exact = line.sums(lambda w: w["feedback"]["exact"])
    scores = [wilson(e, c) for e, c in zip(exact, checked, strict=True)]
    total = wilson(sum(exact), sum(checked))
    alarms = sum(line.sums(lambda w: w["feedback"]["alarms_checked"]))
    right = sum(line.sums(lambda w: w["feedback"]["alarms_right"]))
    text = (
        f"{given['joined']:,} of these answers have a true count by now, and {_percent(total['value'])} of "
        f"them were exact (95\u00a0% interval {_percent(total['low'])} to {_percent(total['high'])}, "
        "Wilson's). "
    )
    if alarms:
        text += f"Of {alarms:,} mismatches among them {right:,} were wrong records indeed. "
    text += (
        "Where only bins in doubt are counted by hand, this is the accuracy on the hard ones, and lower than "
        "that on all. The alarm watches the live model alone, and the upper end of its interval: it goes off "
        f"where even at best the model is further below its accuracy on {live['scored_on']} than is allowed."
    )
    usual = (live["accuracy"], f"the live model on {live['scored_on']}")
    picture = figures.accuracy(line.times, scores, line.step, usual)
    return Section("Was it right?", text, pictures=[Picture(picture)])


def latency(document: Mapping, line: Timeline) -> Section:
    heading = "Was it quick, and did it fail?"
    told = document["cloudwatch"]
    if told["refused"]:
        return Section(heading, f"CloudWatch refused to tell ({told['refused']}).")
    variants = {name: of for name, of in told["variants"].items() if of.get("latency")}
    if not variants:
        return Section(heading, "CloudWatch holds no metrics of this endpoint in this time.")
    asked, client, server = (
        sum(sum(of.get(name, {}).values()) for of in variants.values())
        for name in ("invocations", "client_errors", "server_errors")
    )
    text = (
        f"By CloudWatch, {asked:,.0f} invocations: {client:,.0f} were refused for what they asked (4XX), "
        f"{server:,.0f} failed (5XX). Latency is the time that the container took."
    )
    series = {}
    for name, of in variants.items():
        label = f"{name}, " if len(variants) > 1 else ""
        series[f"{label}mean"] = _at(line, of["latency"])
        series[f"{label}slowest"] = _at(line, of.get("slowest", {}))
    picture = figures.lines(line.times, series, line.step, "milliseconds")
    return Section(heading, text, pictures=[Picture(picture)])


def _shares(
    line: Timeline, names: Sequence[str], value: Callable[[Mapping, str], int]
) -> dict[str, list[float | None]]:
    """Of each name, its share in each window, over all models."""
    parts = {name: line.sums(lambda w, name=name: value(w, name)) for name in names}
    totals = [sum(values) for values in zip(*parts.values(), strict=True)]
    return {
        name: [v / total if total else None for v, total in zip(values, totals, strict=True)]
        for name, values in parts.items()
    }


def _parts(counts: Mapping[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: n / total for name, n in counts.items()}


def _judged(window: Mapping) -> int:
    return sum(window["verdicts"][v] for v in VERDICTS)


def _at(line: Timeline, values: Mapping[str, float]) -> list[float | None]:
    by_time = {datetime.fromisoformat(time): value for time, value in values.items()}
    return [by_time.get(time) for time in line.times]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"
