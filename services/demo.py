"""The main job from end to end: photographs, training, evaluation, endpoint, verdicts: make demo"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

from containers.common import manifest, metrics
from services import console, data, deploy, evaluate, jobs, predict, train
from services.aws import Aws
from services.settings import Settings

PHOTOGRAPHS = 2400  # rendered bins: enough to learn from within minutes on two cores
ASKED = 10  # test photographs sent through the function, every other one with a wrong record
RECIPES = Path(__file__).with_name("recipes")  # sized for two cores: what a first run can wait for


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m services.demo", description=__doc__.split(":")[0])
    p.add_argument("hyperparameters", nargs="*", metavar="name=value", help="over those of the recipe")
    p.add_argument(
        "--source", default="synthetic", help="synthetic, abid, or a folder with the bucket's layout"
    )
    p.add_argument("--file-list", help="of source abid")
    p.add_argument("--photographs", type=int, default=PHOTOGRAPHS, help="how many to render (synthetic)")
    p.add_argument("--processes", type=int, help="training processes")
    console.add_aws_flag(p)
    return p


def main(arguments: Sequence[str] | None = None) -> dict:
    """Returns what ``summary.json`` says."""
    start = time.monotonic()
    flags = parser().parse_intermixed_args(arguments)
    settings = Settings.load()
    aws = Aws(settings)
    common = ["--aws"] if flags.aws else []

    heading(1, "photographs, split by bin, in the default bucket")
    lists = ["--file-list", flags.file_list] if flags.file_list else []
    dataset = data.main(["--source", flags.source, "--photographs", str(flags.photographs), *lists, *common])
    heading(2, "a training job")
    recipe = RECIPES / ("rendered.json" if flags.source == "synthetic" else "photographs.json")
    options = ["--recipe", str(recipe), "--data", dataset["s3_uri"]]
    if flags.processes:
        options += ["--processes", str(flags.processes)]
    job = train.main([*flags.hyperparameters, *options, *common])
    model = job["ModelArtifacts"]["S3ModelArtifacts"]
    heading(3, "an evaluation on the test bins")
    evaluation = evaluate.main(["--model", model, "--data", dataset["s3_uri"], *common])
    heading(4, "an endpoint, and a Lambda function before it")
    deploy.main(["--model", model, *common])
    heading(5, f"{ASKED} test photographs with a recorded count, every other one wrong")
    predictions = ask(aws, settings, flags)
    show(predictions, evaluation)

    accuracy = evaluation["metrics"]["accuracy"]
    summary = {
        "accuracy": accuracy["value"],
        "accuracy_ci": [accuracy["low"], accuracy["high"]],
        "majority_baseline": evaluation["baselines"]["majority_class"]["accuracy"],
        "rmse": evaluation["metrics"]["rmse"]["value"],
        "test_photographs": evaluation["data"]["photographs"],
        "predictions": predictions,
        "seconds": round(time.monotonic() - start, 1),
        "source": flags.source,
        "model": model,
        "training_job": job["TrainingJobName"],
        "endpoint": settings.endpoint,
        "function": settings.function,
    }
    target = settings.local / "demo" / "summary.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(summary, indent=2) + "\n")
    further(summary, target, flags)
    return summary


def heading(number: int, text: str) -> None:
    console.out.print(f"\n[bold]{number}. {text}[/]")


def ask(aws: Aws, settings: Settings, flags: argparse.Namespace) -> list[dict]:
    """Send test photographs through the Lambda function, the same ones for the same data."""
    work = settings.local / "data" / data.source_key(flags.source, 0)
    test = [row for row in manifest.read(work / manifest.FILE) if row.split == "test"]
    draw = random.Random(0)
    predictions = []
    for index, row in enumerate(draw.sample(test, min(ASKED, len(test)))):
        near = [n for n in (row.count - 1, row.count + 1) if n in manifest.COUNTS]
        recorded = draw.choice(near) if index % 2 else row.count
        photograph = work / "dataset" / "test" / str(row.count) / f"{row.name}.jpg"
        answer = predict.ask(aws, str(photograph), recorded)
        predictions.append(
            {"photograph": row.name, "true": row.count, "record_is_right": recorded == row.count, **answer}
        )
    return predictions


def show(predictions: list[dict], evaluation: dict) -> None:
    truth = ["right" if p["record_is_right"] else f"wrong: {p['true']}" for p in predictions]
    console.out.print(predict.table([(p["photograph"], p) for p in predictions], truth))
    accuracy, majority = evaluation["metrics"]["accuracy"], evaluation["baselines"]["majority_class"]
    console.out.print(
        f"accuracy on {evaluation['data']['photographs']} test photographs: "
        f"[bold]{metrics.shown(accuracy, percent=True)}[/], against "
        f"{console.percent(majority['accuracy'], 1)} for always answering {majority['count']}"
    )


def further(summary: dict, target: Path, flags: argparse.Namespace) -> None:
    console.out.print(f"\n{summary['seconds']:.0f} seconds, written to {target}. To look further:")
    asking = ("make predict IMAGE=bin.jpg EXPECTED=3", "ask about a photograph of yours")
    looking = (
        (f"aws logs describe-log-streams --log-group-name {jobs.TRAINING_LOGS}", "the logs of training"),
        (f"aws sagemaker describe-endpoint --endpoint-name {summary['endpoint']}", "the endpoint"),
    )
    if flags.aws:
        commands = (
            (f"{asking[0]} CLOUD=aws", asking[1]),
            *looking,
            ("make undeploy CLOUD=aws", "delete the endpoint, which costs money until then"),
            ("make teardown CLOUD=aws", "all that is there, and how to delete it"),
        )
    else:
        commands = (
            ("make status", "what is running"),
            asking,
            ('eval "$(make -s env)"', "point this shell, the AWS CLI or boto3 at it, then for example"),
            *looking,
            ("make down", "stop it all; 'make up' brings it back"),
        )
    for command, what in commands:
        console.out.print(f"  {command:<62} {what}", markup=False)


if __name__ == "__main__":
    raise SystemExit(console.run(main))
