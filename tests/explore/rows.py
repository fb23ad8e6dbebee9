"""Rows of a leaderboard, made up."""

from containers.explore.leaderboard import Row


def row(
    number: int,
    accuracy: float | None = 0.3,
    round: str = "subset",
    status: str = "completed",
    seconds: float = 10.0,
    epochs: int = 2,
    photographs: int = 100,
    speed: float | None = 50.0,
    reason: str = "",
) -> Row:
    return Row(
        trial=number,
        round=round,
        status=status,
        validation_accuracy=accuracy,
        validation_log_loss=None if accuracy is None else 1.5,
        architecture=f"net{number}",
        pretrained=False,
        image_size=128,
        batch_size=32,
        learning_rate=0.001,
        epochs=epochs,
        photographs=photographs,
        photographs_per_second=speed,
        seconds=seconds,
        reason=reason,
    )
