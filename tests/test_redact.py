"""What leaves this machine: no secret, home folder or login, however short the text around it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_search.redact import public_config, public_text

SECRET = "s3cr3t-0"  # as short as a secret may be


@pytest.fixture(scope="module", autouse=True)
def environment():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_API_KEY", SECRET)
        patch.setenv("SHORT_TOKEN", "true")
        patch.setenv("HOME", "/data/me")
        yield


@given(st.text(), st.text())
def test_a_secret_is_removed_from_any_text(before, after):
    assert SECRET not in public_text(f"{before}{SECRET}{after}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SECRET, "[removed]"),
        ("/home/a", "~"),
        ("/Users/a/x", "~/x"),
        ("/home/ann/runs", "~/runs"),
        ("/data/me", "~"),
        ("in /data/me/a", "in ~/a"),
        ("a://b@c", "a://c"),
        ("postgresql://me:word@host/db", "postgresql://host/db"),
        ("2s2x40d", "2s2x40d"),
        ("pruned at epoch 3", "pruned at epoch 3"),
        ("true", "true"),
        ("", ""),
    ],
)
def test_what_remains_of_a_text(text, expected):
    assert public_text(text) == expected


def test_of_a_configuration_keys_and_hosts_are_removed_at_any_depth():
    config = {"a": {"api_key": "k", "address": "host:1", "list": [SECRET, 1]}, "address": "auto"}
    assert public_config(config) == {
        "a": {"api_key": "[removed]", "address": "[removed]", "list": ["[removed]", 1]},
        "address": "auto",
    }
