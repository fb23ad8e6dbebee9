"""``monitor.html``: what ``monitor.json`` says, for people who run a warehouse. No photographs."""

from collections.abc import Mapping
from datetime import datetime

from containers.train.monitor import sections
from containers.train.monitor.drift import LEAST, MUCH, SOME
from containers.train.monitor.timeline import Timeline
from containers.train.page import Fact, Section, Table, render

NO_BASELINE = (
    "The card of this model carries no baseline. How far photographs and answers have moved cannot be said "
    "until a model is trained that has one; everything else is shown."
)


def page(document: Mapping) -> str:
    """The whole page from the document alone, so that both always say the same."""
    recent, live = document["recent"], document["live"]
    title = f"What has endpoint {document['endpoint']} seen?"
    lead = (
        f"{document['records']['read']:,} captured requests from {moment(document['since'])} to "
        f"{moment(document['until'])} UTC. It runs model {live['model']}."
    )
    if not document["windows"]:
        return render(title, [_nothing(document), *_always(document)], lead)
    line = Timeline.of(document)
    shown = [
        _summary(document),
        sections.traffic(document, line),
        sections.confidence(document, line),
        sections.counts(document, line),
        sections.verdicts(document, line),
        sections.photographs(document, line),
        sections.drift(document, line),
        sections.accuracy(document, line),
        sections.latency(document, line),
    ]
    return render(title, [*(s for s in shown if s), *_always(document)], lead, _facts(document, recent))


def moment(text: str) -> str:
    """``2026-07-01T12:00:00Z`` -> ``1 July 2026, 12:00``."""
    time = datetime.fromisoformat(text)
    return f"{time.day} {time:%B %Y, %H:%M}"


def _facts(document: Mapping, recent: Mapping) -> list[Fact]:
    """Of the recent records: what the alarms are about."""
    metrics, baseline = document["metrics"], document["live"]["baseline"]
    usual = f"{_percent(baseline['answers']['mean_confidence'])} on validation" if baseline else "no baseline"
    moved = metrics.get("Drift")
    return [
        Fact(f"requests, last {hours(document)}", f"{recent['records']:,}", "of the live model"),
        Fact("mean confidence", _percent(recent["mean_confidence"]), usual),
        Fact("records doubted", _percent(metrics.get("MismatchRate")), f"{LEAST} needed" if recent["records"]
             and "MismatchRate" not in metrics else "mismatch"),
        Fact("drift", "–" if moved is None else f"{moved:.2f}", verdict(moved)),
    ]  # fmt: skip


def _summary(document: Mapping) -> Section:
    recent, live = document["recent"], document["live"]
    text = (
        f"The table is about the last {hours(document)} before {moment(document['until'])} and the live "
        "model alone; alarms watch its numbers where a reading ends now. Its accuracy is of all its answers "
        "that were read, since true counts come late. The pictures show every window that was read."
    )
    if live["baseline"] is None:
        text += f"\n\n{NO_BASELINE}"
    metrics, feedback = document["metrics"], live["feedback"]
    answers = (live["baseline"] or {}).get("answers")
    rows = [
        ["requests", f"{recent['records']:,}", ""],
        ["mean confidence", _percent(recent["mean_confidence"], 1),
         f"{_percent(answers['mean_confidence'], 1)} on validation" if answers else "no baseline"],
        ["mismatch", _percent(metrics.get("MismatchRate"), 1), "of those with a recorded count"],
        ["unsure", _percent(metrics.get("UnsureRate"), 1), "of those with a recorded count"],
        *([f"drift of {sections.NAMES[name]}", _index(drift), verdict(drift)]
          for name, drift in recent["drift"].items()),
        ["counted by hand since", f"{feedback['checked']:,}",
         f"{feedback['exact']:,} of them exactly" if feedback["checked"] else "no feedback"],
        ["accuracy", _percent(metrics.get("Accuracy"), 1),
         f"{_percent(live['accuracy'], 1)} on {live['scored_on']}"],
        ["accuracy at best", _percent(metrics.get("AccuracyAtBest"), 1),
         "upper end of the 95\u00a0% interval"],
    ]  # fmt: skip
    table = Table(
        ["", "value", ""], rows, align="lrl",
        note=f"Rates need {LEAST} requests, and drift as many on either side: below, chance moves them.",
    )  # fmt: skip
    return Section("In short", text, [table])


def _nothing(document: Mapping) -> Section:
    unusable = sum(document["records"]["unusable"].values())
    text = (
        f"No answer was captured in this time below {document['capture']['place']} "
        f"({document['capture']['objects']} objects, {unusable} records that cannot be used). Either nobody "
        "asked, or the endpoint was deployed without capture."
    )
    return Section("Nothing to see", text)


def _always(document: Mapping) -> list[Section]:
    return [s for s in (_models(document), _alarms(document), _how(document)) if s]


def _models(document: Mapping) -> Section | None:
    if not document["models"]:
        return None
    rows = [
        [m["model"] + (" (live)" if m["live"] else ""), f"{m['records']:,}",
         _percent(m["mean_confidence"], 1), f"{moment(m['first_window'])}\nto {moment(m['last_window'])}"]
        for m in document["models"]
    ]  # fmt: skip
    text = (
        "" if len(rows) == 1 else "The model was replaced in this time. Drift is told of the live one only."
    )
    return Section(
        "Which models answered?", text, [Table(["model", "requests", "confidence", "windows"], rows)]
    )


def _alarms(document: Mapping) -> Section:
    told = document["cloudwatch"]
    if told["refused"]:
        return Section("Alarms", f"CloudWatch refused to tell ({told['refused']}).")
    if not told["alarms"]:
        return Section("Alarms", "There were none when this was read: the first reading puts them.")
    rows = [[a["name"], a["state"], moment(a["since"])] for a in told["alarms"]]
    table = Table(["alarm", "state", "since"], rows, "lll", strong=[
        i for i, a in enumerate(told["alarms"]) if a["state"] == "ALARM"
    ])  # fmt: skip
    return Section("Alarms", "As they were when this was read, hence before its own numbers.", [table])


def _how(document: Mapping) -> Section:
    records, capture = document["records"], document["capture"]
    given = document["feedback"]
    unusable = ", ".join(f"{n:,} {what}" for what, n in records["unusable"].items()) or "none"
    text = (
        f"Every record of {capture['objects']:,} objects ({capture['bytes'] / 1e6:,.1f} MB) was read; "
        f"records that could not be used: {unusable}; left out, as they only verified a promotion: "
        f"{records['verifying']:,}. By variant: "
        + (", ".join(f"{name} {n:,}" for name, n in records["by_variant"].items()) or "none")
        + f". Photographs are decoded for a sample only, of at most {records['photographs_a_window']:,} a "
        "window, drawn by event id, so that reading again draws the same: "
        f"{records['photographs_measured']:,} in all, measured at the size that the network sees.\n\n"
        "Drift is the population stability index against the photographs and answers of validation, less "
        f"what chance is expected to add: below {SOME:g} little has changed, above {MUCH:g} much (Siddiqi "
        "2006).\n\n"
        f"True counts are looked for below {given['place']}: {given['counts']:,} found, of which "
        f"{given['unknown']:,} name no event that was read here; {given['unreadable']:,} lines could not be "
        "read."
    )
    return Section("How was this measured?", text)


def hours(document: Mapping) -> str:
    """The time that metrics are about: ``24 h``, or minutes."""
    seconds = document["recent_seconds"]
    return f"{seconds // 3600} h" if seconds % 3600 == 0 else f"{seconds // 60} min"


def verdict(index: float | None) -> str:
    """What a stability index says."""
    if index is None:
        return "not known"
    return "little has changed" if index < SOME else "much has changed" if index > MUCH else "some change"


def _index(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(share: float | None, digits: int = 0) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}\u00a0%"
