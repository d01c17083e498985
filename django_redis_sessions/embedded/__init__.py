"""How does a project get a Redis of its own for development, with nothing to install or to start?

``socket_for()`` gives the path of a private unix socket behind which a real ``valkey-server`` or
``redis-server`` runs. All processes of a project share one server; it stops when the last of them is gone,
however that one ended.

::

    user process ── starts, once ──> supervisor ── child ──> server ──> redis.sock
         └── holds users.lock (shared)    └── wants users.lock (exclusive)

Everything rests on ``flock``, which the kernel gives back when a process dies, ``kill -9`` included.
Who holds which lock, and why:

``users.lock``: every user, shared.
    Says that the server is needed. Never closed, so a process stays a user until it ends; forked children
    inherit it and are users as well. Getting it exclusively tells the supervisor that nobody is left.
``start.lock``: one process, for a short time.
    One starts, joins or clears up at a time. The supervisor stops a server only while holding this one too,
    so nobody can join a server that is about to stop: who comes then waits here, and starts a new one.
``supervisor.lock``: the supervisor.
    Says that somebody looks after the server; contains the supervisor's process id and the socket's path.
``server.lock``: the server.
    Says that a server still lives, and contains its process id: one without a supervisor is stopped before
    the next starts. So two servers never write to one directory, and no recycled process id is ever killed.

Locks are taken in the order start, users, supervisor, server; the supervisor only ever *tries* the first two.

With a directory the locks stay in ``<directory>/locks``, so that processes with different ideas of the
temporary directory (a desktop session and cron) still find each other; only the socket is elsewhere, as its
path must be short. Without one they are in the runtime directory, which is removed with the last user.
Removing a lock file is safe here because it happens under ``start.lock``, that one goes last, and who gets a
lock on ``start.lock`` then looks whether the file is still the one at that path.
"""

from django_redis_sessions.embedded.programs import Server, find_server
from django_redis_sessions.embedded.users import socket_for

__all__ = ["Server", "find_server", "socket_for"]
