"""The parser of the command line, built from the table of commands; each is imported when it runs."""

from __future__ import annotations

from cyclopts import App

import tracker
from tracker.cli import COMMANDS, DESCRIPTION, EPILOGUE
from tracker.cli.help import ARGUMENTS, HOUSE_PARAMETER, OPTIONS, HelpFormatter

command_line = App(
    name="tracker",
    help=DESCRIPTION,
    version=tracker.__version__,
    help_format="plaintext",
    help_epilogue=EPILOGUE,
    help_formatter=HelpFormatter(),
    default_parameter=HOUSE_PARAMETER,
    group_arguments=ARGUMENTS,
    group_parameters=OPTIONS,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _command in (command for group in COMMANDS.values() for command in group):
    command_line.command(_command.target, name=_command.name)  # its help is its docstring's
