"""Somebody else's session engine: what Django's contract says, and nothing more."""

from django.contrib.sessions.backends.base import CreateError, SessionBase


class SessionStore(SessionBase):
    stored = {}

    def load(self):
        try:
            return dict(self.stored[self.session_key])
        except KeyError:
            self._session_key = None
            return {}

    def exists(self, session_key):
        return session_key in self.stored

    def create(self):
        self._session_key = self._get_new_session_key()
        self.save(must_create=True)

    def save(self, must_create=False):
        if self.session_key is None:
            return self.create()
        if must_create and self.exists(self.session_key):
            raise CreateError
        self.stored[self.session_key] = dict(self._get_session(no_load=must_create))
        return None

    def delete(self, session_key=None):
        self.stored.pop(session_key or self.session_key, None)

    @classmethod
    def clear_expired(cls):
        pass
