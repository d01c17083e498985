"""Django sessions on Redis: nobody logged out by accident, nobody kept logged in by accident."""

__version__ = "0.1.0"
