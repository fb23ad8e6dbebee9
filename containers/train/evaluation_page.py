"""``evaluation.html``: what ``evaluation.json`` says, for people who run a warehouse. No photographs."""

from containers.common.metrics import shown
from containers.train import figures
from containers.train.page import Fact, Picture, Section, Table, render

FEW_BINS = 30  # below, a bootstrap over bins is too sure of itself
SIZES = {"1": "wrong by 1", "2": "wrong by 2", "3+": "wrong by 3 or more"}


def page(document: dict) -> str:
    """The whole page from the document alone, so that both always say the same."""
    scores, data, level = document["metrics"], document["data"], _usual(document)
    sections = [
        *([_challenge(document)] if "decision" in document else []),
        _against_what(document),
        _errors_caught(document),
        _by_count(document),
        _confidence(document),
        _answering_less(document),
        _how(document),
    ]
    facts = [
        Fact("counted exactly", _percent(scores["accuracy"], 1), _range(scores["accuracy"])),
        Fact("off by one at most", _percent(scores["within_one"], 1), _range(scores["within_one"])),
        Fact("points that confidence is off", f"{100 * scores['ece']['value']:.1f}", _range(scores["ece"])),
        Fact("wrong records caught", _percent(level["caught"], 1), f"at {_rate(level)} false alarms"),
    ]
    known = "that it was neither trained nor tuned on"
    if not document["trained_on_this_data"]:
        known = "of another data set than it was trained on"
    lead = (
        f"Model {document['model']}, measured on {data['photographs']:,} photographs of {data['bins']:,} "
        f"bins {known}."
    )
    return render("How far can the counts be believed?", sections, lead, facts)


def _challenge(document: dict) -> Section:
    found, decision, champion = document["comparison"], document["decision"], document["champion"]
    level, detectable = _asked(found["level"]), found["detectable_gain"]
    verdict = "Yes." if decision["promote"] else "No."
    where = (
        f"{found['against']} is what endpoint {champion['endpoint']} serves, with the configuration "
        f"{champion['configuration']}."
        if champion
        else "Nothing is deployed yet, and a first model must beat the answer that needs no model."
    )
    text = (
        f"{verdict} {decision['reason']}.\n\n{where} Both counted the same photographs, and the model is "
        f"promoted only where we can be {level} sure that it counts better: where the whole bar lies to the "
        f"right of zero. With this many photographs, and two that differ as often as these, a true gain of "
        f"{100 * detectable:.1f} points would be found {_asked(found['power'])} of the time; a smaller one "
        "may well be missed."
    )
    names = {"challenger": f"this model, {document['model']}", "other": found["against"]}
    rows = [
        [names[side], shown(found["accuracies"][side], percent=True, two_lines=True), f"{alone:,}"]
        for side, alone in (("challenger", found["only_challenger"]), ("other", found["only_other"]))
    ]
    table = Table(["", "exact", "exact where the other is not"], rows, strong=(0,))
    picture = Picture(figures.gain(found["gain"], detectable, f"{level} sure"))
    return Section("Does it replace what is deployed?", text, [table], [picture])


def _against_what(document: dict) -> Section:
    base = document["baselines"]
    majority, names = base["majority_class"], base["no_pixels"]
    leaky, published = base["no_pixels_random_split"], base["published"]
    exact = leaky["metrics"]["accuracy"]
    text = (
        "The first row is the model. The next two look at no photograph, so whatever the model has over "
        "them it has from looking.\n\n"
        "Consecutive names are often one bin before and after an item moved. Here both are always on the "
        "same side, and the counts of neighbouring names give little away. Where photographs are dealt out "
        f"at random, {_percent(leaky['informed'])} of those tested have a neighbour in training, and the "
        f"same guess, still without a look, is right for {_percent(exact)} of them. That is what a random "
        "split adds to a score for nothing.\n\n"
        f"The published row is {published['model']}, on a random split of {published['photographs']:,} "
        f"photographs with {published['counts'][0]} to {published['counts'][-1]} items. It was measured on "
        "other photographs and another split, and cannot be compared with the rows above it."
    )
    rows = [
        ["this model", *_scores(document["metrics"])],
        [f"always answering {majority['count']}", *_scores(majority["metrics"])],
        ["neighbouring names, without a look", *_scores(names["metrics"])],
        ["the same on a random split, which leaks", *_scores(leaky["metrics"])],
        ["published, another split", _percent(published["accuracy"], 2), "–", "–", "–"],
    ]
    note = (
        "Exact: share of exact counts. RMSE and MAE: how many items a count is off; RMSE takes large errors "
        "more seriously. Small: the range that holds the true value 95 times in 100. Neighbours are those of "
        "the main list: extras, trained on and never tested, are another selection."
    )
    table = Table(["", "exact", "within one", "RMSE", "MAE"], rows, strong=(0,), note=note)
    return Section("How good is it, and against what?", text, [table])


def _errors_caught(document: dict) -> Section:
    found, level = document["detection"], _usual(document)
    wrong = found["wrong_records"]
    bad = 1000 * wrong
    caught, doubted = level["caught"]["value"] * bad, 1000 * level["doubted"]["value"]
    unsure, missed = 1000 * level["unsure"]["value"], level["missed"]["value"] * bad
    classes = list(document["confusion"])
    text = (
        f"Take 1,000 bins of which {bad:.0f} have a wrong record. With the thresholds for {_rate(level)} "
        f"false alarms the model doubts {doubted:.0f} records: {caught:.0f} of the {bad:.0f} wrong ones and "
        f"{doubted - caught:.0f} of the {1000 - bad:.0f} right ones. It is unsure about {unsure:.0f} bins, "
        f"and believes {missed:.0f} of the wrong records. Whoever checked {doubted:.0f} bins at random "
        f"instead would find {doubted * wrong:.0f} wrong records.\n\n"
        f"Assumed: a wrong record lies between {classes[0]} and {classes[-1]}, and is half as likely for "
        "each further item that it is off. Thresholds were fitted on "
        f"{document['data']['validation_photographs']:,} other photographs, so the false alarms that "
        "happened here are not quite those that were asked for."
    )
    levels = [*found["levels"], found["deployed"]]
    lines = {
        "false alarms that happened": [level["false_alarms"] for level in levels],
        "wrong records caught": [level["caught"] for level in levels],
        **{
            f"of those {name}": [level["caught_by_size"][size] for level in levels]
            for size, name in SIZES.items()
        },
        "wrong records believed": [level["missed"] for level in levels],
        "alarms that are right": [level["precision"] for level in levels],
        "bins unsure": [level["unsure"] for level in levels],
    }
    table = Table(
        ["false alarms asked for", *(_rate(level) for level in found["levels"]), "deployed"],
        [
            [name, *(shown(share, percent=True, two_lines=True) for share in row)]
            for name, row in lines.items()
        ],
        strong=(1,),
        note=f"The last two rows are for {_asked(wrong)} wrong records. Deployed: "
        f"with the thresholds in the model's card, fitted for {_rate(found['deployed'])} false alarms.",
    )
    curve = found["curve"]
    marks = {
        SIZES[size]: [
            (x["false_alarms"]["value"], x["caught_by_size"][size]["value"]) for x in found["levels"]
        ]
        for size in curve["caught"]
    }
    by_size = {SIZES[size]: shares for size, shares in curve["caught"].items()}
    picture = Picture(
        figures.detection(curve["false_alarms"], by_size, marks),
        "Marks: the thresholds of the table. Lines: all others.",
    )
    return Section("Which wrong records does it catch?", text, [table], [picture])


def _by_count(document: dict) -> Section:
    scores = {count: {**row, "value": row["accuracy"]} for count, row in document["by_count"].items()}
    missing = [count for count in document["confusion"] if count not in scores]
    text = (
        "The bars show how often a bin with that many items is counted exactly. The squares show what is "
        "counted instead: each row is a true count, the diagonal is right, and beside it are counts that "
        "are off by one."
    )
    if missing:
        text += f" No tested bin holds {' or '.join(missing)}."
    matrix, shares = (list(document[key].values()) for key in ("confusion", "confusion_shares"))
    squares = figures.confusion(matrix, list(document["confusion"]), shares)
    caption = "Share of the row, its 95 % interval (a dash: none or all of the row), (photographs)"
    overall = (document["metrics"]["accuracy"]["value"], "all bins together")
    bars = figures.bars(scores, "items in the bin", "counted exactly", overall)
    return Section("Which counts are mixed up?", text, pictures=[Picture(bars), Picture(squares, caption)])


def _confidence(document: dict) -> Section:
    error = {key: 100 * value for key, value in document["metrics"]["ece"].items()}
    text = (
        "With every count the model says how sure it is. If that can be believed, then of the counts that "
        "it is 60 % sure of, 60 % are right, and the points lie on the dashed line. Below the line it is "
        "too sure of itself, above it too modest. The bars say how many photographs a point stands for.\n\n"
        f"On average its confidence is off by {error['value']:.1f} points (95 % interval {error['low']:.1f} "
        f"to {error['high']:.1f}). This is the expected calibration error over ten bins of confidence, less "
        f"the {error['plug_in'] - error['value']:.1f} points that chance is found to add. The interval "
        "is too narrow: simulated on 576 photographs it held the truth 84 times in 100 for a model "
        "whose confidence is right, and 93 times for one that is 10 points too sure."
    )
    picture = Picture(figures.reliability(document["calibration"]["reliability"]))
    return Section("Can its confidence be believed?", text, pictures=[picture])


def _answering_less(document: dict) -> Section:
    points = document["calibration"]["risk_coverage"]
    half = min(points, key=lambda point: abs(point["coverage"] - 0.5))
    text = (
        "A model that knows when it does not know can leave the hard bins to people. Of the "
        f"{_percent(half['coverage'])} of photographs that it is surest of, {_percent(half['risk'])} are "
        f"counted wrongly, against {_percent(points[-1]['risk'])} of all."
    )
    picture = Picture(figures.risk_coverage(points))
    return Section("What if it answers only when it is sure?", text, pictures=[picture])


def _how(document: dict) -> Section:
    data = document["data"]
    text = (
        "Photographs of one bin are never on both sides of the split. The ranges come from drawing whole "
        "bins again and again (bootstrap), because photographs of one bin are not independent. Thresholds, "
        "and the temperature of the confidence, were fitted on validation photographs; the tested ones were "
        "only scored. Shares of caught records are expectations over every wrong record that a bin could "
        f"have had, not over drawn ones. Data set {data['fingerprint'][:12]}."
    )
    if not document["trained_on_this_data"]:
        text += (
            "\n\n"
            "Careful: the model was trained on another data set than this one. If it learnt from these "
            "bins there, its scores are too good."
        )
    if data["bins"] < FEW_BINS:
        text += f"\n\nCareful: {data['bins']} bins are too few for the ranges to be taken at their word."
    return Section("How was this measured?", text)


def _usual(document: dict) -> dict:
    """The outcome for the middle one of the rates of false alarms."""
    levels = document["detection"]["levels"]
    return levels[len(levels) // 2]


def _rate(level: dict) -> str:
    return _asked(level["decision"]["false_alarm_rate"])


def _asked(share: float) -> str:
    """A share that was chosen, and so is shown in full."""
    return f"{100 * share:g}\u00a0%"


def _scores(scores: dict) -> list[str]:
    """Cells of exact, within one, RMSE and MAE; the interval on a line of its own."""
    keys = {"accuracy": True, "within_one": True, "rmse": False, "mae": False}
    return [shown(scores.get(key), percent, two_lines=True) for key, percent in keys.items()]


def _percent(share: float | dict | None, digits: int = 0) -> str:
    if share is None:
        return "none"
    value = share["value"] if isinstance(share, dict) else share
    return f"{100 * value:.{digits}f}\u00a0%"


def _range(score: dict) -> str:
    return f"{100 * score['low']:.1f} to {100 * score['high']:.1f}"
