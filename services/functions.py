"""Puts the Lambda functions where they run: one image, a handler and variables for each."""

from services.aws import Aws


def put(aws: Aws, name: str, work: str, handler: str, variables: dict[str, str]) -> str:
    """Create or update a function, and wait until it can be invoked; returns its ARN.

    work: count or promote, whose role it runs as.
    """
    lambda_ = aws.client("lambda")
    settings = {
        "FunctionName": name,
        "Role": aws.role_for(work),
        "Timeout": 60,
        "MemorySize": 512,
        "ImageConfig": {"Command": [handler]},
        "Environment": {"Variables": variables},
    }
    try:
        lambda_.update_function_code(FunctionName=name, ImageUri=aws.image("function"))
        lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
        answer = lambda_.update_function_configuration(**settings)
        lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
    except lambda_.exceptions.ResourceNotFoundException:
        answer = lambda_.create_function(
            **settings,
            PackageType="Image",
            Code={"ImageUri": aws.image("function")},
            Tags={"project": "bintally"},
        )
        lambda_.get_waiter("function_active_v2").wait(FunctionName=name)
    return answer["FunctionArn"]
