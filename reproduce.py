"""Reproduces rows of the published table: one executed notebook and one record per row.

    python reproduce.py --row dynamic-c       minutes on a laptop: small networks, generated street scenes
    python reproduce.py --row dynamic-c --profile full --data cityscapes=/data/cityscapes
    python reproduce.py --predict photo.jpg   segments pictures of your own

Exit codes: 0 done, 1 a row failed or a picture is unreadable, 2 usage, 3 blocked (data or weights missing),
130 interrupted. A row that was interrupted goes on with the same command; one that is finished is not run again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from dynroute_suite.command.set_up import caution, way_in

try:
    from dynroute_core.runs.record import read_record
    from dynroute_core.system.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USAGE, DynrouteError
    from dynroute_core.system.streams import outlast_terminal
    from dynroute_suite.command.options import ROOT, check, expanded, parser
    from dynroute_suite.command.summary import exit_code
except (ImportError, SyntaxError, TypeError) as error:  # so older Pythons stumble
    if __name__ != "__main__":
        raise
    print(f"reproduce.py: {way_in(error, sys.platform)}", file=sys.stderr)
    sys.exit(2)

if TYPE_CHECKING:
    from dynroute_suite.command.session import Session


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = parser(__doc__ or "").parse_args(words)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return dispatch(arguments)
    except DynrouteError as error:
        print(f"reproduce.py: {error}", file=sys.stderr)
        return answer(arguments, error.exit_code, message=str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("dynroute"):  # ours, and an error of ours
            raise
        print(f"reproduce.py: {way_in(error, sys.platform)}", file=sys.stderr)
        return answer(arguments, EXIT_USAGE, message=str(error))
    except KeyboardInterrupt:
        again = "begins anew" if arguments.predict else "goes on"
        print(f"\nreproduce.py: interrupted; the same command {again}.", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def dispatch(arguments: Namespace) -> int:
    """Does what the words ask for. What needs torch is imported only once they are checked: that takes seconds."""
    if arguments.list:
        return list_rows(arguments)
    if arguments.status:
        return show_status(arguments)
    check(arguments)
    if arguments.predict:
        from dynroute_suite.command.predict import predict_pictures

        pictures, code = predict_pictures(arguments)
        return answer(arguments, code, [asdict(picture) for picture in pictures])
    from dynroute_suite.command import given_weights, run, tables
    from dynroute_suite.command.session import open_session

    session = open_session(arguments)
    if arguments.convert:
        what = given_weights.convert(session.experiments[0], target := expanded(arguments.convert))
        session.say(f"{target}: {what}")
        return answer(arguments, EXIT_DONE, message=what)
    os.chdir(ROOT)  # generated data lie beside this file, wherever the command was called
    if arguments.dry_run:
        rows, refused = run.dry_run(session)
        return answer(arguments, exit_code(refused), rows)
    if session.cluster:
        return hand_over(session)
    results = run.run_rows(session)
    session.say(tables.as_text(results, [read_record(Path(one.record)) for one in results if one.record], ROOT))
    return answer(arguments, exit_code(results), [asdict(result) for result in results])


def list_rows(arguments: Namespace) -> int:
    """Shows every row."""
    from dynroute_suite.command.tables import published_rows, published_text

    print(json.dumps(published_rows(), indent=1) if arguments.json else published_text())
    return EXIT_DONE


def show_status(arguments: Namespace) -> int:
    """Says how far runs are: those that the rest of the command names or, where it names no row, every one."""
    from dynroute_suite.status.text import status_json, status_text, statuses_of

    found = statuses_of(arguments)
    print(status_text(found, ROOT), file=sys.stderr if arguments.json else sys.stdout)
    return answer(arguments, EXIT_DONE, status_json(found))


def hand_over(session: Session) -> int:
    """Hands the runs over to a cluster and says of each what happens to it."""
    from dynroute_suite.cluster.submit import submit

    results = submit(session)
    session.say("\n".join(f"{result.row} seed {result.seed}: {result.state}" for result in results))
    session.say("  how far they are: the same command with --status")
    return answer(session.arguments, exit_code(results), [asdict(result) for result in results])


def answer(arguments: Namespace, code: int, rows: Sequence[object] = (), *, message: str = "") -> int:
    """With --json, says for programs how it ended; returns the exit code."""
    if arguments.json:
        print(json.dumps({"exit_code": code, "message": message, "rows": list(rows)}, indent=1))
    return code


if __name__ == "__main__":
    outlast_terminal()
    if words := caution(sys.platform):
        print(f"reproduce.py: {words}", file=sys.stderr)
    sys.exit(main())
