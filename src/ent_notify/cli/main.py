"""The group of commands, and what becomes of an error: a sentence on the standard error, and an exit code.

========  ==========================================================================
exit code meaning
========  ==========================================================================
0         done
1         failed; the sentence says what, and what to do
2         the command or a setting is wrong; nothing was done
3         it needs your decision (an import that would remove too many people)
130       stopped by hand
========  ==========================================================================
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import click

from ent_notify.cli.api import api
from ent_notify.cli.campaigns import campaign, forecast
from ent_notify.cli.conversations import conversations
from ent_notify.cli.demo import demo
from ent_notify.cli.directory import generate, import_aaf
from ent_notify.cli.doctor import doctor
from ent_notify.cli.door import PROGRAM, Door
from ent_notify.cli.events import explain, publish
from ent_notify.cli.gdpr import gdpr
from ent_notify.cli.glass import glass
from ent_notify.cli.guardians import guardians
from ent_notify.cli.holds import hold
from ent_notify.cli.receipts import take_bounce, undo_drops
from ent_notify.cli.retention import retention
from ent_notify.cli.rights import erase, export, object_to, rectify, requests, restrict
from ent_notify.cli.safety import safety
from ent_notify.cli.services import gateway, worker
from ent_notify.cli.simulate import simulate
from ent_notify.cli.store import migrate
from ent_notify.cli.timetable import timetable
from ent_notify.errors import EntNotifyError, SettingsError, TooManyRemovals
from ent_notify.observe import describe_error

FAILED, WRONG, DECIDE, STOPPED = 1, 2, 3, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Settings file; else the one that ENT_NOTIFY_CONFIG names, else ent-notify.toml here.",
)
@click.option("--debug", is_flag=True, help="On an error, show the whole traceback. It may hold personal data.")
@click.version_option(version("ent-notify"), prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, config: Path | None, debug: bool) -> None:
    """The messaging and notification engine of a school platform.

    To see it all at once, on an embedded database: ent-notify demo.

    To set it up: write ent-notify.toml, then ent-notify doctor, migrate, import-aaf; then run worker and gateway.

    Exit codes: 0 done, 1 failed, 2 wrong command or setting, 3 it needs your decision.
    """
    context.obj = Door(config=config, debug=debug)


for command in (
    demo,
    doctor,
    migrate,
    generate,
    import_aaf,
    publish,
    forecast,
    campaign,
    explain,
    guardians,
    timetable,
    conversations,
    take_bounce,
    undo_drops,
    worker,
    gateway,
    safety,
    api,
    retention,
    gdpr,
    requests,
    export,
    rectify,
    restrict,
    object_to,
    erase,
    hold,
    glass,
    simulate,
):
    cli.add_command(command)


def main() -> None:
    """The console script. SIGTERM stops it as Ctrl-C does: what it started is ended, what it made is removed."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in its background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; answers its exit code. Never raises, but for what ends a process."""
    debug = "--debug" in arguments
    try:
        answer = cli.main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has left, as `head` does: that is no fault, and nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except BaseException as error:  # noqa: BLE001 - the last stop: each kind is told, and the rest is raised again
        return _tell(error, debug=debug)
    return answer if isinstance(answer, int) else 0


def _tell(error: BaseException, *, debug: bool) -> int:
    """Say on the standard error what stopped the command; the exit code for it."""
    error = _only(error)
    if isinstance(error, (SystemExit, GeneratorExit)):
        raise error
    if debug:
        traceback.print_exception(error)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        say("stopped")
        return STOPPED
    if isinstance(error, EntNotifyError):
        say(str(error))
        return WRONG if isinstance(error, SettingsError) else DECIDE if isinstance(error, TooManyRemovals) else FAILED
    if isinstance(error, OSError) and error.filename is not None:
        say(f"{error.filename}: {error.strerror}; check the path and your rights to it")
        return FAILED
    shown = describe_error(error)
    place = (shown["at"] or ["?"])[-1]
    say(
        f"an error that nobody foresaw stopped this: {shown['class']} at {place}. "
        "Run the same with `ent-notify --debug ...` for the whole of it (it may hold personal data), and report it"
    )
    return FAILED


def _only(error: BaseException) -> BaseException:
    """What a nursery wrapped, when it is one thing; else, of several, ours or the first."""
    while isinstance(error, BaseExceptionGroup):
        ours, _ = error.split(EntNotifyError)
        error = (ours or error).exceptions[0]
    return error


def say(sentence: str) -> None:
    """One sentence to the operator."""
    click.echo(f"{PROGRAM}: {sentence}", err=True)
