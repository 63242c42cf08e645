"""Yosys' command line with Tcl, out of the Python package `pyosys`: what Edalize calls as `yosys`.

    python tb/yosys_tcl.py [-l LOG] [-p COMMANDS] [-s SCRIPT]
    python tb/yosys_tcl.py --install      puts a `yosys` beside this Python: part of `make verify-setup`

The package is built without Tcl; here Python's interpreter of it runs the script and hands Yosys the commands.
"""

from __future__ import annotations

import argparse
import os
import sys
import tkinter
from pathlib import Path

from pyosys import libyosys


def run(commands: str) -> None:
    """Run Yosys commands, separated by `;` or lines; `tcl FILE` runs a script. Raises RuntimeError when one fails."""
    for command in commands.replace(";", "\n").splitlines():
        words = command.split()
        if words[:1] == ["tcl"]:
            _tcl(words[1], libyosys.run_pass)
        elif words:
            libyosys.run_pass(command.strip())


def _tcl(script: str, run_pass) -> None:  # type: ignore[no-untyped-def]
    interpreter = tkinter.Tcl()
    # what follows `yosys` is one command of it; `-import` would make each of them one of Tcl
    interpreter.createcommand("yosys", lambda *words: words == ("-import",) or run_pass(" ".join(words)))
    try:
        interpreter.eval(f"source {{{script}}}")
    except tkinter.TclError as error:
        raise RuntimeError(f"{script}: {error}") from error


def install() -> Path:
    """Write the script that calls this one; returns its path."""
    target = Path(sys.prefix) / "bin" / "yosys"
    target.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{Path(__file__).resolve()}' \"$@\"\n")
    target.chmod(0o755)
    return target


def main() -> int:
    parser = argparse.ArgumentParser(prog="yosys", description=__doc__.splitlines()[0])
    parser.add_argument("-l", metavar="LOG", type=Path, help="where what Yosys prints goes")
    parser.add_argument("-p", metavar="COMMANDS", default="", help="commands to run")
    parser.add_argument("-s", metavar="SCRIPT", type=Path, help="a file of commands, run first")
    parser.add_argument("--install", action="store_true", help="put a `yosys` beside this Python")
    args = parser.parse_args()
    if args.install:
        print(install())
        return 0
    commands = args.s.read_text(encoding="utf-8") if args.s else ""
    try:
        if args.l:
            with args.l.open("w", encoding="utf-8") as log:
                os.dup2(log.fileno(), 1)
        run(commands + "\n" + args.p)
    except RuntimeError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
