"""One module for each subcommand: ``NAME``, ``HELP``, ``EPILOG``, ``add_arguments`` and ``handle``."""
