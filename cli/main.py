"""``geomask``: the command line. A new command is one import and one entry of `COMMANDS`, in the pipeline's order.

This module and those of the commands import nothing heavy: ``geomask --help`` shall answer at once.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from geomask.errors import GeomaskError

from .catalogs import catalogs
from .chips import chips
from .demo import demo
from .encode import encode
from .export import export
from .index import index
from .infer import infer
from .manifest import manifest
from .plan import plan
from .read import read
from .report import report
from .search import search
from .serve_features import serve_features
from .status import status
from .train import train

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = [
    *(catalogs, search, index, chips, train, encode, plan, manifest, read, infer),
    *(serve_features, status, export, report, demo),
]

INTERRUPTED = 130
"""What a shell reports for a program that Ctrl-C ended: 128 + SIGINT."""

MOST_WARNINGS = 10
"""More are counted, not shown: a catalog that is wrong in one item is wrong in all of them."""


class Pipeline(click.Group):
    """A group that lists its commands in their own order, and whose errors are one line each.

    Exit codes: 2 for a command line that makes no sense, 1 for whatever else goes wrong, 130 after Ctrl-C.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in order."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before the command."""
        with _in_one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Parse and run the command."""
        with _in_one_line(ctx), _warnings():
            return super().invoke(ctx)


class _Failure(click.ClickException):
    """An error that is shown as one line."""

    def __init__(self, message: str) -> None:
        super().__init__(_line(message))


class _Misuse(_Failure):
    """A command line that makes no sense."""

    exit_code = click.UsageError.exit_code


def _line(text: str) -> str:
    """In one line. What a stranger's file says to a terminal is not said to it."""
    return "".join(sign if sign.isprintable() else "?" for sign in " ".join(text.split()))


@contextmanager
def _warnings() -> Iterator[None]:
    """Each warning once, in one line on stderr."""
    said: dict[str, None] = {}

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        line = _line(str(message))
        if line not in said and len(said) < MOST_WARNINGS:
            click.echo(f"Warning: {line}", err=True)
        said[line] = None

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
    if len(said) > MOST_WARNINGS:
        click.echo(f"Warning: {len(said) - MOST_WARNINGS} more like these.", err=True)


@contextmanager
def _in_one_line(ctx: click.Context) -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        command = (error.ctx or ctx).command_path
        raise _Misuse(f"{error.format_message().rstrip('.')}; see {command} --help") from error
    except GeomaskError as error:
        raise _Failure(str(error)) from error
    except BrokenPipeError:  # whoever read our output has left: click ends without a word
        raise
    except OSError as error:
        place = error.filename2 or error.filename
        raise _Failure(f"{error.strerror}: {place}" if place else error.strerror or str(error)) from error
    except MemoryError as error:
        raise _Failure(f"not enough memory: {error}; read less at once") from error
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None


@click.group(cls=Pipeline, commands=COMMANDS)
@click.version_option(package_name="geomask", prog_name="geomask")
def geomask() -> None:
    """Learn which bands and dates of satellite imagery a model needs, and read only those bytes."""
