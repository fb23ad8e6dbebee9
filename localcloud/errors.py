"""The one error that localcloud's own parts answer with; a front turns it into AWS's wire form."""


class AwsError(Exception):
    """An answer that AWS itself would give: error code, message, HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400):
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def validation(message: str) -> AwsError:
    """What SageMaker answers for anything that it refuses, and for anything that it cannot find."""
    return AwsError("ValidationException", message, 400)


def unavailable(message: str) -> AwsError:
    """What sagemaker-runtime answers while nothing can take the request; boto3 tries it again."""
    return AwsError("ServiceUnavailable", message, 503)
