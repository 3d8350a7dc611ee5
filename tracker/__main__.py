"""The process of the command line: the script `tracker`, and `python -m tracker`."""

from tracker.interpreter import leave_working_directory


def main() -> None:
    """Run the command that this process was started with."""
    leave_working_directory()  # before the imports below
    from tracker.cli import main as run

    run()


if __name__ == "__main__":
    main()
