import string
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from urllib.parse import quote, urlencode

import click
import pystac
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import FetchError, ItemError
from geomask.signing import load_signer, signed_by, unsigned

SAS = "sv=2024-08-04&ss=b&srt=o&spr=https&st=2026-01-01T00%3A00%3A00Z&se=2026-01-02&sip=1.2.3.4&sr=c&sp=rl&si=p&"
SAS += "skoid=1&sktid=2&skt=3&ske=4&sks=b&skv=2024&saoid=5&suoid=6&scid=7&sdd=1&ses=e&rscd=file&rsct=image&sig=a%2Bb%3D"
OTHERS = """
    X-Amz-Algorithm X-Amz-Credential X-Amz-Date X-Amz-Expires X-Amz-SignedHeaders X-Amz-Signature X-Amz-Security-Token
    AWSAccessKeyId Signature Expires Key-Pair-Id Policy X-Goog-Algorithm X-Goog-Credential X-Goog-Signature
    GoogleAccessId token access_token api_key apikey API-Key key auth password secret subscription-key authToken
"""
SECRETS = [part.partition("=")[0] for part in SAS.split("&")] + OTHERS.split()
HARMLESS = ["versionId", "response", "v", "page", "x-id", "keys", "author", "band", "signed", "tokens", "passage", "s"]

names = st.sampled_from(SECRETS).flatmap(lambda name: st.sampled_from([name, name.lower(), name.upper()]))
values = st.text(max_size=12)
secret = st.tuples(names, values.map(lambda value: "SECRET" + value))
harmless = st.tuples(st.sampled_from(HARMLESS), values)
addresses = st.sampled_from(
    ["https://host/a b/c.tif", "http://127.0.0.1:80/%20.tif", "S3://bucket/k", "https://h", "gs://b/x"]
)
paths = st.text(string.ascii_letters + "?#%&=/ .;:@+ü", max_size=30).filter(lambda path: "://" not in path)


@given(addresses, st.lists(secret | harmless), st.sampled_from(["", "#part"]))
def test_no_secret_survives_and_the_rest_stays_as_it_is_in_order(
    address: str, parameters: list[tuple[str, str]], fragment: str
) -> None:
    query = urlencode(parameters, quote_via=quote)
    kept = urlencode([pair for pair in parameters if pair[0] in HARMLESS], quote_via=quote)
    assert unsigned(f"{address}{'?' + query if query else ''}{fragment}") == (
        f"{address}{'?' + kept if kept else ''}{fragment}"
    )


@given(addresses | paths, st.text(string.ascii_letters + "?#%&=;-_+@:/", max_size=40))
def test_unsigning_twice_is_unsigning_once(start: str, rest: str) -> None:
    once = unsigned(f"{start}?{rest}")
    assert unsigned(once) == once


@given(addresses, st.text(max_size=10))
def test_without_a_query_nothing_changes(address: str, name: str) -> None:
    href = f"{address}/{name.replace('?', '')}"
    assert unsigned(href) == href


@given(paths)
def test_a_path_of_this_machine_is_left_alone(path: str) -> None:
    for href in (path, f"/data/{path}?sig=x&token=y#z", f"file:///data/{path}?key=1", "C:\\data\\a?sig=1.tif"):
        assert unsigned(href) == href


@pytest.mark.parametrize(
    ("href", "bare"),
    [
        ("https://me:hush@host:8080/a.tif", "https://host:8080/a.tif"),
        ("https://hush@host/a.tif?v=1", "https://host/a.tif?v=1"),
        ("s3://id:hush@bucket/a.tif", "s3://bucket/a.tif"),
        ("abfs://container@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("https://h/a@b.tif", "https://h/a@b.tif"),
        ("https://h/a?%73ig=x&%76=2", "https://h/a?%76=2"),
        ("https://h/a?v=1;sig=x&w", "https://h/a?w"),
        ("https://h/a?sig=x&", "https://h/a"),
        ("https://h/a?", "https://h/a?"),
        (" https://h/a?sig=x", " https://h/a"),
    ],
)
def test_unsigned(href: str, bare: str) -> None:
    assert unsigned(href) == bare


def item(*hrefs: str, own: str | None = None) -> pystac.Item:
    assets = {str(number): pystac.Asset(href) for number, href in enumerate(hrefs)}
    made = pystac.Item("one", None, None, datetime(2020, 1, 5, tzinfo=UTC), {}, assets=assets)
    if own:
        made.set_self_href(own)
    return made


def test_items_sign_their_own_files_and_no_others() -> None:
    sign = signed_by([item("https://h/a.tif?v=1&sig=x", "https://h/b.tif"), item("https://h/c.tif?token=z")])
    assert sign is not None
    assert sign("https://h/a.tif?v=1") == "https://h/a.tif?v=1&sig=x"
    assert sign("https://h/c.tif") == "https://h/c.tif?token=z"
    assert [sign(href) for href in ("https://h/b.tif", "https://h/d.tif")] == ["https://h/b.tif", "https://h/d.tif"]


def test_a_signed_file_beside_its_item_is_signed_by_its_absolute_address() -> None:
    sign = signed_by([item("./a.tif?sig=x", own="https://h/items/one.json")])
    assert sign is not None
    assert sign("https://h/items/a.tif") == "https://h/items/a.tif?sig=x"


def test_items_that_are_not_signed_sign_nothing(tmp_path: Path) -> None:
    assert signed_by([item("https://h/a.tif?v=1", "/data/who?sig=x.tif", str(tmp_path))]) is None
    assert signed_by([]) is None


def test_of_two_signatures_of_one_file_the_last_is_taken() -> None:
    sign = signed_by([item("https://h/a.tif?sig=old&se=1"), item("https://h/a.tif?sig=new&se=2")])
    assert sign is not None
    assert sign("https://h/a.tif") == "https://h/a.tif?sig=new&se=2"


def test_what_may_be_two_files_is_an_error_that_shows_neither_secret() -> None:
    with pytest.raises(ItemError, match=r"differ only in what gives access to https://h/get;") as caught:
        signed_by([item("https://h/get?key=B04.tif", "https://h/get?key=B03.tif")])
    assert "B04" not in str(caught.value)


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> str:
    module = ModuleType("my_signer")
    module.sign = lambda href: f"{href}?sig=x"  # type: ignore[attr-defined]
    module.number = 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_signer", module)
    return "my_signer:sign"


def test_a_function_is_found_by_its_module_and_name(signer: str) -> None:
    assert load_signer(signer)("https://h/a") == "https://h/a?sig=x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "MODULE:FUNCTION"),
        ("planetary_computer", "MODULE:FUNCTION"),
        ("planetary_computer:", "MODULE:FUNCTION"),
        (".relative:sign", "MODULE:FUNCTION"),
        ("no_such_module_here:sign", "no_such_module_here"),
        ("my_signer:absent", "my_signer has no function absent"),
        ("my_signer:number", "my_signer has no function number"),
    ],
)
def test_what_names_no_function_is_an_error(text: str, said: str, signer: str) -> None:
    with pytest.raises(FetchError, match=said):
        load_signer(text)


def test_the_option_gives_the_command_a_function_or_none(signer: str) -> None:
    @click.command()
    @import_module("geomask.cli.options").sign_option
    def command(sign: object) -> None:
        click.echo(sign("https://h/a") if callable(sign) else str(sign))

    run = CliRunner().invoke
    assert run(command, ["--sign", signer]).stdout == "https://h/a?sig=x\n"
    assert run(command, []).stdout == "None\n"
    wrong = run(command, ["--sign", "my_signer:absent"])
    assert (wrong.exit_code, "has no function absent" in wrong.stderr) == (2, True)
    assert "--sign MODULE:FUNCTION" in run(command, ["--help"]).stdout
