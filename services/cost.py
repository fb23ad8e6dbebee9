"""What each verb starts on AWS and what that costs, by prices that you fill in: python -m services.cost"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from containers.common.errors import SettingsError
from services import console
from services.settings import Settings

ROOT = Path(__file__).parents[1]
PRICES = ROOT / "infra" / "prices.csv"
THROUGHPUT = ROOT / "bench" / "cost.csv"  # bench/cost.py makes it from what was measured
MONTH = 730  # hours, as AWS counts them
UNKNOWN = "[yellow]?[/]"


@dataclass(frozen=True)
class Started:
    """What a verb starts that is paid by the hour, until when; ``setting`` names the instance type."""

    verb: str
    what: str
    setting: str
    until: str


STARTED = (
    Started("explore", "training job", "explore_instance", "BUDGET is spent"),
    Started("train", "training job", "train_instance", "it ends (≤ 24 h)"),
    Started("evaluate", "processing job", "evaluate_instance", "it ends (≤ 1 h)"),
    Started("reproduce", "training job, then", "train_instance", "it ends"),
    Started("", "processing job", "evaluate_instance", "it ends (≤ 1 h)"),
    Started("deploy", "endpoint, 1 to 3 ×", "serve_instance", "make undeploy"),
    Started("pipeline", "training job, then", "train_instance", "it ends"),
    Started("", "2 processing jobs", "evaluate_instance", "each ends"),
    Started("monitor", "processing job", "monitor_instance", "it ends (≤ 1 h)"),
)
OTHERWISE = (
    ("bootstrap", "nothing by the hour: storage in S3 and ECR, logs, four alarms"),
    ("data", "nothing by the hour: storage and requests in S3"),
    ("push", "nothing by the hour: storage in ECR"),
    ("demo", "what data, train, evaluate, deploy and predict do"),
    ("predict", "each call of the function: Lambda's price for a request and for its seconds"),
)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.cost", description=__doc__.split(":")[0])
    p.add_argument("--prices", type=Path, default=PRICES, help="CSV with instance_type and usd_per_hour")
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    flags = parser().parse_args(arguments)
    settings = Settings.load()
    prices = read_prices(flags.prices)
    console.out.print(by_verb(settings, prices))
    for verb, what in OTHERWISE:
        console.out.print(f"  {verb:<10}{what}", style="dim")
    print()
    console.out.print(by_photograph(settings, prices))
    print(f"photographs a second: estimated in {THROUGHPUT.relative_to(ROOT)} from {measured_on()}")
    if missing := sorted(needed(settings) - {name for name, price in prices.items() if price is not None}):
        console.out.print(
            f"[yellow]no price for {', '.join(missing)}[/]: write it, from your region's price list of "
            f"SageMaker, into {flags.prices}"
        )
    print("prices differ by region and feature, and take no account of discounts; AWS's bill is what counts")


def read_prices(path: Path) -> dict[str, float | None]:
    """Instance type -> US dollars an hour, None where nobody has filled it in; raises SettingsError."""
    try:
        with path.open(newline="") as stream:
            rows = [(row["instance_type"], row["usd_per_hour"]) for row in csv.DictReader(stream)]
    except (OSError, KeyError) as error:
        raise SettingsError(f"{path} is no table of instance_type and usd_per_hour: {error!r}") from None
    prices: dict[str, float | None] = {}
    for name, text in rows:
        try:
            prices[name] = float(text) if text else None
        except ValueError:
            raise SettingsError(f"{path}: {text!r} is no price of {name}") from None
    return prices


def needed(settings: Settings) -> set[str]:
    """The instance types that the settings name."""
    return {getattr(settings, started.setting) for started in STARTED}


def by_verb(settings: Settings, prices: dict[str, float | None]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="what each verb starts, and what an hour of it costs")
    for column in ("make", "starts", "instance type", "until"):
        table.add_column(column, no_wrap=True)
    table.add_column("USD/h", justify="right", no_wrap=True)
    for started in STARTED:
        kind = getattr(settings, started.setting)
        table.add_row(started.verb, started.what, kind, started.until, money(prices.get(kind), 3))
    return table


def by_photograph(settings: Settings, prices: dict[str, float | None]) -> Table:
    """Counting a million photographs, if one instance never rests; its month if it always runs."""
    table = Table(box=box.SIMPLE_HEAD, title="what serving costs, by instance type")
    table.add_column("type")
    for column in ("photographs/s", "h a million", "USD a million", "USD a month"):
        table.add_column(column, justify="right")
    for name, speed in throughput().items():
        hours, price = 1e6 / speed / 3600, prices.get(name)
        table.add_row(
            name,
            f"{speed:,.0f}",
            f"{hours:,.2f}",
            money(price and price * hours, 2),
            money(price and price * MONTH, 0),
            style="bold" if name == settings.serve_instance else None,
        )
    return table


def throughput() -> dict[str, float]:
    """Photographs a second of one instance of a type."""
    return {row["instance_type"]: float(row["photographs_per_second"]) for row in _measured()}


def measured_on() -> str:
    return f"{_measured()[0]['machine']} ({_measured()[0]['date']})"


def _measured() -> list[dict[str, str]]:
    with THROUGHPUT.open(newline="") as stream:
        return list(csv.DictReader(stream))


def money(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


if __name__ == "__main__":
    raise SystemExit(console.run(main))
