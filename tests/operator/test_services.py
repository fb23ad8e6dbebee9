"""What services do where AWS is not as they would like it: nothing of it needs one."""

import argparse
from types import SimpleNamespace

import pytest

from containers.common.errors import ServiceError, SettingsError
from services import demo, deploy, rollout
from services.aws import Aws
from services.settings import Settings
from tests.fake_aws import FakeAws, endpoint


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(rollout, "POLL", 0)


def account(fake: FakeAws) -> SimpleNamespace:
    return SimpleNamespace(client=fake, settings=Settings())


def calls(fake: FakeAws) -> list[str]:
    return [name for name, _ in fake.calls]


def test_an_endpoint_is_deleted_when_it_has_stopped_changing():
    """AWS refuses it before; and what is gone by then is no error."""
    fake = FakeAws(endpoint("a", "Creating"), endpoint("a"), endpoint("a"), endpoint("a", "Deleting"), None)
    rollout.delete(account(fake), "bintally")
    assert calls(fake) == ["delete"] and fake.described == [None]
    fake = FakeAws(endpoint("a", "Deleting"), None)
    rollout.delete(account(fake), "bintally")
    assert calls(fake) == []


def test_a_failed_endpoint_is_made_again():
    """AWS refuses to do anything with it but to delete it."""
    fake = FakeAws(
        endpoint("a", "Creating"), endpoint("a", "Failed"), endpoint("a", "Failed"), None, endpoint("b")
    )
    assert deploy.put_endpoint(account(fake), "b", None, None) == endpoint("b")
    assert calls(fake) == ["delete", "create"]


@pytest.mark.parametrize(("aws", "last"), [(True, "make teardown CLOUD=aws"), (False, "make down")])
def test_the_demo_ends_with_how_to_end_what_it_started(aws, last, tmp_path, capsys):
    demo.further({"seconds": 9, "endpoint": "bintally"}, tmp_path, argparse.Namespace(aws=aws))
    shown = capsys.readouterr().out
    assert shown.strip().splitlines()[-1].strip().startswith(last)
    assert ("make undeploy CLOUD=aws" in shown) == aws


def test_an_image_that_nobody_has_pushed_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(Aws, "endpoint_url", None)
    monkeypatch.setattr(Aws, "account", "123456789012")
    monkeypatch.setattr(Aws, "newest_image", lambda *_: None)
    with pytest.raises(ServiceError, match=r"no image bintally-train: 'make push CLOUD=aws'.*_TRAIN_IMAGE"):
        Aws(Settings(region="us-east-1")).image("train")


def test_a_switch_is_on_or_off(monkeypatch):
    monkeypatch.setenv("BINTALLY_PROFILER", "of")
    with pytest.raises(SettingsError, match="BINTALLY_PROFILER is of: use on or off"):
        Settings.load()
