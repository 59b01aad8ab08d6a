"""Buckets: S3 against a server that checks signatures; GCS and Azure by what they ask a server of this machine.

No emulator of GCS or Azure is at hand, so of those two the tests say that the right request is sent, not that the
cloud takes it.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from pathlib import Path

import pytest
from buckets import KEYS, forget_clouds, s3_server
from recorder import DATA, Recorder

from geomask import fetch as module
from geomask.demo.server import Server
from geomask.errors import FetchError
from geomask.fetch import Want, fetch
from geomask.store import locate

NAMES = ["dir/plain.bin", "sp ace/b#c.bin", "100%.bin", "ü+&=~.bin", "who?.bin"]


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_clouds(tmp_path, monkeypatch)
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("s3")
    for name in NAMES:
        path = folder / "bucket" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() + DATA)
    return folder


@pytest.fixture(scope="module")
def s3_host(folder: Path) -> Iterator[str]:
    with s3_server(folder) as host:
        yield host


@pytest.fixture
def s3(s3_host: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The host of a server that takes requests signed with `KEYS` alone; the environment has it and the keys."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3_host}")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return s3_host


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.mark.parametrize("name", NAMES)
def test_s3_gives_bytes_of_any_key_as_it_is_written(name: str, s3: str) -> None:
    whole = name.encode() + DATA
    (got,) = fetch([Want(f"s3://bucket/{name}", 3, 1000)])
    assert (got.data, got.size, got.trip.requests) == (whole[3:1003], len(whole), 1)
    (again,) = fetch([Want(f"s3://bucket/{name}", len(whole) - 5, 1000, got.size, got.etag)])
    assert again.data == whole[-5:]


@pytest.mark.parametrize("href", ["s3://bucket/absent.bin", "s3://other/dir/plain.bin"])
def test_s3_without_such_a_file_is_an_error(href: str, s3: str) -> None:
    with pytest.raises(FetchError, match=f"{href}: no such file"):
        fetch([Want(href, 0, 10)])


@pytest.mark.parametrize("href", ["s3://bucket", "gs://bucket/", "az://container"])
def test_a_bucket_is_no_file(href: str) -> None:
    with pytest.raises(FetchError, match=f"{href} names a bucket and no file"):
        fetch([Want(href, 0, 10)])


def test_s3_that_ignores_ranges_is_not_asked_again(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", recorder.url)
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    recorder.answers.append(lambda right: type(right)(200, right.headers, right.body))
    with pytest.raises(FetchError, match="ignores byte ranges"):
        fetch([Want("s3://b/p%20q#r.bin", 0, 10)])
    (asked,) = recorder.asked
    assert asked.target == "/b/p%2520q%23r.bin"


@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "nobody"), ("AWS_NO_SIGN_REQUEST", "YES")],
)
def test_s3_refuses_wrong_credentials_and_none(name: str, value: str, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    want = Want("s3://bucket/dir/plain.bin", 0, 10)
    assert fetch([want])[0].data == b"dir/plain."
    monkeypatch.setenv(name, value)
    with pytest.raises(FetchError, match=r"s3://bucket/dir/plain\.bin: access denied"):
        fetch([want])
    monkeypatch.setenv(name, KEYS.get(name, "NO"))
    assert fetch([want])[0].data == b"dir/plain."


def test_a_presigned_address_of_s3_is_fetched_and_a_refused_one_signed_again(s3: str) -> None:
    import obstore

    store, path = locate("s3://bucket/dir/plain.bin")
    presigned = obstore.sign(store, "GET", path, timedelta(minutes=5))
    href = presigned.partition("?")[0]
    with pytest.raises(FetchError, match="access denied"):
        fetch([Want(href, 0, 10)])
    assert fetch([Want(href, 0, 10)], sign=lambda _: presigned)[0].data == b"dir/plain."
    tampered = re.sub("(X-Amz-Signature=)....", r"\g<1>0000", presigned)
    assert tampered != presigned
    signed = chain([tampered], [presigned])
    assert fetch([Want(href, 0, 10)], sign=lambda _: next(signed))[0].trip.requests == 2


def test_a_public_bucket_is_read_unsigned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's server knows no signatures; buckets are its folders, as they are of an S3 in path style."""
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    with Server(folder) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        assert fetch([Want("s3://bucket/dir/plain.bin", 0, 9)])[0].data == b"dir/plain"


SIGNED = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hush"}


@pytest.mark.parametrize(
    ("environment", "target", "headers"),
    [
        ({"AWS_ENDPOINT_URL": "http://{host}", **SIGNED}, "/b/k.tif", {"authorization": r".*/us-east-1/s3/.*"}),
        ({"AWS_S3_ENDPOINT": "{host}", "AWS_HTTPS": "NO", **SIGNED}, "/b/k.tif", {"authorization": "AWS4-.*"}),
        (
            {"AWS_S3_ENDPOINT": "http://{host}/", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE", **SIGNED},
            "/b/k.tif",
            {"host": "127.*"},
        ),
        (
            {"AWS_ENDPOINT_URL": "http://{host}", "AWS_REGION": "eu-west-3", **SIGNED},
            "/b/k.tif",
            {"authorization": ".*/eu-west-3/s3/.*"},
        ),
        (
            {"AWS_ENDPOINT_URL": "http://{host}", "AWS_DEFAULT_REGION": "eu-west-1", **SIGNED},
            "/b/k.tif",
            {"authorization": ".*/eu-west-1/s3/.*"},
        ),
        (
            {"AWS_ENDPOINT_URL": "http://{host}", "AWS_REQUEST_PAYER": "requester", "AWS_SESSION_TOKEN": "t", **SIGNED},
            "/b/k.tif",
            {"x-amz-request-payer": "requester", "x-amz-security-token": "t"},
        ),
        ({"AWS_ENDPOINT_URL": "http://{host}", "AWS_NO_SIGN_REQUEST": "YES"}, "/b/k.tif", {"authorization": None}),
        (
            {"AWS_ENDPOINT_URL": "http://{host}", "AWS_NO_SIGN_REQUEST": "NO", **SIGNED},
            "/b/k.tif",
            {"authorization": "AWS4-.*"},
        ),
    ],
)
def test_s3_is_asked_as_the_environment_says(
    environment: dict[str, str],
    target: str,
    headers: dict[str, str | None],
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert_asked("s3://b/k.tif", environment, target, headers, recorder, monkeypatch)


@pytest.mark.parametrize(
    ("environment", "headers"),
    [
        ({"GS_NO_SIGN_REQUEST": "YES"}, {"authorization": None}),
        ({"GOOGLE_BEARER_TOKEN": "t"}, {"authorization": "Bearer t"}),
    ],
)
def test_gcs_is_asked_as_the_environment_says(
    environment: dict[str, str], headers: dict[str, str | None], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"GOOGLE_BASE_URL": "http://{host}", **environment}
    assert_asked("gs://b/k", environment, "/b/k", headers, recorder, monkeypatch)


@pytest.mark.parametrize("href", ["az://c/k", "abfs://c/k", "abfs://c@acct.dfs.core.windows.net/k"])
@pytest.mark.parametrize(
    ("environment", "target", "authorization"),
    [
        ({"AZURE_NO_SIGN_REQUEST": "YES"}, "/c/k", None),
        ({"AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=a%2Bb"}, "/c/k?sv=1&sig=a%2Bb", None),
        ({"AZURE_STORAGE_ACCESS_KEY": "a2V5"}, "/c/k", "SharedKey acct:.*"),
    ],
)
@pytest.mark.parametrize("account", ["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"])
def test_azure_is_asked_as_the_environment_says(
    href: str,
    environment: dict[str, str],
    target: str,
    authorization: str | None,
    account: str,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = {"AZURE_STORAGE_ENDPOINT": "http://{host}", account: "acct", **environment}
    assert_asked(href, environment, target, {"authorization": authorization}, recorder, monkeypatch)


def assert_asked(
    href: str,
    environment: dict[str, str],
    target: str,
    headers: dict[str, str | None],
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One request, with that path and query, and with headers that match, or without those that are None."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(host=recorder.host))
    assert fetch([Want(href, 5, 10)])[0].data == DATA[5:15]
    (asked,) = recorder.asked
    assert asked.target == target
    for name, pattern in headers.items():
        value = asked.headers.get(name)
        assert value is None if pattern is None else re.fullmatch(pattern, value or ""), (name, value)


def test_a_bucket_may_be_part_of_the_hosts_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_S3_ENDPOINT", "objects.example.com")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "TRUE")
    config = locate("s3://bucket/k")[0].config
    assert config["endpoint"] == "https://bucket.objects.example.com"
    assert config["virtual_hosted_style_request"]


CREDENTIALS = """
[default]
aws_access_key_id = default-id
aws_secret_access_key = %hush
[other]
aws_access_key_id = other-id
aws_secret_access_key = hush
[other]
aws_session_token = token
"""
CONFIG = "[default]\nregion = eu-north-1\noutput = json\n[profile other]\nregion = eu-south-1\n"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "default-id/*/eu-north-1/"),
        ({"AWS_PROFILE": "other"}, "other-id/*/eu-south-1/"),
        ({"AWS_DEFAULT_PROFILE": "other", "AWS_REGION": "us-west-2"}, "other-id/*/us-west-2/"),
        (SIGNED, "id/*/eu-north-1/"),
        ({"AWS_NO_SIGN_REQUEST": "YES"}, ""),
    ],
)
def test_the_files_of_the_aws_tools_are_read(
    environment: dict[str, str],
    expected: str,
    tmp_path: Path,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "credentials").write_text(CREDENTIALS)
    (tmp_path / "config").write_text(CONFIG)
    files = {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_ENDPOINT_URL": recorder.url,
    }
    for name, value in (files | environment).items():
        monkeypatch.setenv(name, value)
    fetch([Want("s3://b/k", 0, 10)])
    (asked,) = recorder.asked
    match = re.search(r"Credential=([^/]*)/\d+/([^/]*/)", asked.headers.get("authorization", ""))
    assert (f"{match[1]}/*/{match[2]}" if match else "") == expected
    assert ("x-amz-security-token" in asked.headers) == expected.startswith("other")


def test_the_files_lie_in_the_home_folder(tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(CREDENTIALS)
    monkeypatch.setenv("AWS_ENDPOINT_URL", recorder.url)
    fetch([Want("s3://b/k", 0, 10)])
    assert "Credential=default-id/" in recorder.asked[0].headers["authorization"]


def test_a_broken_file_of_the_aws_tools_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken").write_text("aws_access_key_id = hush\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "broken"))
    with pytest.raises(FetchError, match=r"broken is broken: File contains no section headers") as caught:
        fetch([Want("s3://b/k", 0, 10)])
    assert "hush" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("href", "word"),
    [
        ("s3://bucket/k.tif", "AWS_NO_SIGN_REQUEST=YES"),
        ("gs://bucket/k.tif", "GS_NO_SIGN_REQUEST=YES"),
        ("az://bucket/k.tif", "AZURE_NO_SIGN_REQUEST=YES"),
    ],
)
def test_without_credentials_one_try_ends_with_what_to_set(
    href: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing answers where a cloud's own machines are told their credentials."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "acct")
    monkeypatch.setattr(module, "FIRST_WAIT", 3600)
    with pytest.raises(FetchError, match=rf"^no credentials for {href.rpartition('/')[0]}; set {word} for a public"):
        fetch([Want(href, 0, 10)])


def test_a_machine_of_the_cloud_without_a_role_has_no_credentials(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", recorder.url)
    recorder.answers.append(lambda right: type(right)(503, {"Content-Length": "0"}))  # busy: that may pass
    recorder.answers.append(lambda right: type(right)(404, {"Content-Length": "0"}))
    with pytest.raises(FetchError, match="no credentials for s3://bucket"):
        fetch([Want("s3://bucket/k.tif", 0, 10)])
    assert [asked.target for asked in recorder.asked] == ["/latest/api/token"] * 2


def test_azure_without_an_account_is_an_error() -> None:
    with pytest.raises(FetchError, match=r"az://c cannot be opened: .*Account must be specified"):
        fetch([Want("az://c/k", 0, 10)])


def test_a_bucket_of_another_region_is_an_error_that_says_what_to_set(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", recorder.url)
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    recorder.answers.append(lambda right: type(right)(301, {"Content-Length": "0"}))
    with pytest.raises(FetchError, match="s3://b/k: its bucket lies in another region; set AWS_REGION"):
        fetch([Want("s3://b/k", 0, 10)])
    assert len(recorder.asked) == 1
