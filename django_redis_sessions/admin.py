"""How does Django's admin show and end sessions, which are in no table?

A ``ModelAdmin`` with pages of its own under the usual names, so the admin's index, its permissions and
its log work as for any model. It reads and ends sessions by ``sessions`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import django
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote, unquote
from django.contrib.auth import get_user_model, logout
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext, pgettext_lazy
from django.views.generic import RedirectView

from django_redis_sessions import listing, masking, overview, people, sessions
from django_redis_sessions.errors import (
    SessionStoreMisconfigured,
    SessionStoreRefused,
    SessionStoreUnavailable,
)
from django_redis_sessions.listing import Listing, Question, Row
from django_redis_sessions.middleware import unavailable
from django_redis_sessions.models import Session
from django_redis_sessions.sessions.shown import handle_of

View = Callable[..., HttpResponseBase]

#: How many sessions the page that asks for confirmation names one by one.
NAMED_TO_CONFIRM = 100
#: How many sessions one request ends by their handles: more than any page of the list has.
MOST_SELECTED = 1000

WHO_NAMES: tuple[tuple[str, str | Promise], ...] = (
    ("", gettext_lazy("All")),
    ("users", pgettext_lazy("sessions", "Signed in")),
    ("anonymous", gettext_lazy("Anonymous")),
)


class QuestionForm(forms.Form):
    """What stands in the address of the list; whatever does not fit was not made by one of its links."""

    q = forms.CharField(required=False, max_length=254)
    user = forms.CharField(required=False, max_length=254)
    who = forms.ChoiceField(required=False, choices=WHO_NAMES)
    cursor = forms.CharField(required=False, max_length=254)
    seen = forms.IntegerField(required=False, min_value=0, max_value=10**12)

    def question(self) -> Question:
        """The same as a value; the form must be valid."""
        given = self.cleaned_data
        return Question(
            text=given["q"],
            user_id=given["user"],
            who=given["who"],
            cursor=given["cursor"] or None,
            seen=given["seen"] or 0,
        )


@admin.register(Session)
class SessionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic outside of django-stubs
    """The pages: the list with its search, one session, and the question before sessions are ended."""

    change_list_template = "admin/django_redis_sessions/session/change_list.html"
    change_form_template = "admin/django_redis_sessions/session/change_form.html"
    delete_confirmation_template = "admin/django_redis_sessions/session/end_confirmation.html"
    refused_template = "admin/django_redis_sessions/session/refused.html"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._figures = overview.Figures()

    # Permissions -----------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: sessions begin with a visit."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: what is in a session is its visitor's."""
        return False

    def may_end(self, request: HttpRequest) -> bool:
        """Whether this person may end sessions, which takes seeing them."""
        return self.has_view_permission(request) and self.has_delete_permission(request)

    # Addresses -------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """The pages under the names that the admin gives to those of a model, and one for ending several."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        to_change = RedirectView.as_view(pattern_name=f"{self.admin_site.name}:{name}_change")
        return [
            path("", self._page(self.changelist_view), name=f"{name}_changelist"),
            path("end/", self._page(self.end_view), name=f"{name}_end"),
            path("<path:object_id>/delete/", self._page(self.delete_view), name=f"{name}_delete"),
            path("<path:object_id>/change/", self._page(self.change_view), name=f"{name}_change"),
            path("<path:object_id>/", self._page(to_change)),
        ]

    def _page(self, view: View) -> View:
        """A view behind the admin's sign-in that answers calmly when Redis does not."""

        @wraps(view)
        def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                return view(request, *args, **kwargs)
            except (SessionStoreRefused, SessionStoreMisconfigured) as error:
                return self._render(
                    request, self.refused_template, _("Sessions cannot be shown"), {"error": error}, 503
                )

        protected: View = self.admin_site.admin_view(shown)

        @wraps(view)
        def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                # Whether somebody is signed in is in a session as well.
                return protected(request, *args, **kwargs)
            except SessionStoreUnavailable as error:
                return unavailable(request, error)

        return answered

    # Pages -----------------------------------------------------------------------------------------

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Some of the sessions, and figures about all of them."""
        if request.method not in ("GET", "HEAD"):
            self._require(self.may_end(request))
            return HttpResponseNotAllowed(["GET", "HEAD"])
        self._require(self.has_view_permission(request))
        form = QuestionForm(request.GET)
        if not form.is_valid():
            self.message_user(
                request,
                _("This address leads to no list of sessions; here is the first page."),
                messages.WARNING,
            )
            return self._to_list()
        question = form.question()
        if question.text and question.cursor is None and sessions.get(question.text) is not None:
            return HttpResponseRedirect(self._url("change", quote(question.text)))
        found = listing.listing(question, _own_handle(request))
        figures = self._of_overview()
        for region in dict.fromkeys([*found.missing, *figures["statistics"].missing]):
            said = _("Region %(region)s cannot be reached just now; its sessions are missing on this page.")
            self.message_user(request, said % {"region": region}, messages.WARNING)
        context = {
            **self._of_list(request, question, found),
            **figures,
            **(extra_context or {}),
        }
        return self._render(request, self.change_list_template, pgettext("sessions", "Sessions"), context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One session with its data. Nothing can be changed."""
        if request.method not in ("GET", "HEAD"):
            self._require(self.may_end(request))
            return HttpResponseNotAllowed(["GET", "HEAD"])
        self._require(self.has_view_permission(request))
        handle = unquote(object_id)
        row = self._row(request, handle)
        data = None if row is None else sessions.data(handle)
        if row is None or data is None:
            return self._gone(request, handle)
        context = {
            "row": row,
            "entries": masking.entries(data.items()),
            "mask": masking.MASK,
            "user_url": self._user_url(request, row.user),
            "user_list_url": self._list_url(user=row.info.user_id) if row.info.user_id else None,
            "end_url": self._url("delete", quote(handle)) if self.may_end(request) else None,
            **(extra_context or {}),
        }
        return self._render(request, self.change_form_template, _("Session"), context, subtitle=row.username)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask whether one session is to be ended, and end it when that is confirmed."""
        self._require(self.may_end(request))
        handle = unquote(object_id)
        row = self._row(request, handle)
        return self._gone(request, handle) if row is None else self._asked(request, [row])

    def end_view(self, request: HttpRequest) -> HttpResponse:
        """The same for the sessions that were selected, or for all of one user."""
        self._require(self.may_end(request))
        given = request.POST if request.method == "POST" else request.GET
        user_id = given.get("user", "")
        if user_id:
            form = QuestionForm({"user": user_id})
            chosen = sessions.of_user(user_id) if form.is_valid() else []
        else:
            handles = dict.fromkeys(given.getlist(ACTION_CHECKBOX_NAME)[:MOST_SELECTED])
            if not handles:
                self.message_user(request, _("No sessions were selected."), messages.WARNING)
                return self._to_list()
            chosen = [info for handle in handles if (info := sessions.get(handle)) is not None]
        if not chosen:
            self.message_user(request, _("These sessions have ended already."), messages.WARNING)
            return self._to_list()
        return self._asked(request, listing.rows(chosen, _own_handle(request)), user_id)

    # Ending ----------------------------------------------------------------------------------------

    def _asked(self, request: HttpRequest, rows: Sequence[Row], user_id: str = "") -> HttpResponse:
        if request.method == "POST" and request.POST.get("post") == "yes":
            return self._ended(request, rows, user_id)
        count = len(rows)
        context = {
            "rows": rows[:NAMED_TO_CONFIRM],
            "unnamed": max(0, count - NAMED_TO_CONFIRM),
            "handles": [] if user_id else [row.handle for row in rows],
            "user_id": user_id,
            "has_own": any(row.is_current for row in rows),
            "checkbox_name": ACTION_CHECKBOX_NAME,
            "question": (
                _("Are you sure you want to end all sessions of %(user)s?") % {"user": rows[0].username}
                if user_id
                else ngettext(
                    "Are you sure you want to end this session?",
                    "Are you sure you want to end these %(count)d sessions?",
                    count,
                )
                % {"count": count}
            ),
            "end_path": self._url("end"),
            "list_url": self._list_url(),
        }
        return self._render(request, self.delete_confirmation_template, _("End sessions"), context)

    def _ended(self, request: HttpRequest, rows: Sequence[Row], user_id: str) -> HttpResponse:
        # The reader's own comes last: until then there is somebody who may do this.
        rows = sorted(rows, key=lambda row: row.is_current)
        ended: list[Row] = []
        try:
            if user_id:
                count = sessions.revoke_user(user_id)
                ended += rows
            else:
                ended += (row for row in rows if sessions.revoke(row.handle))
                count = len(ended)
        finally:
            # What was ended before Redis went away is in the log as well.
            self._log(request, ended)
            self._figures.forget()
        if any(row.is_current for row in rows):
            logout(request)
        said = ngettext("%(count)d session was ended.", "%(count)d sessions were ended.", count)
        self.message_user(request, said % {"count": count}, messages.SUCCESS)
        return self._to_list()

    def _log(self, request: HttpRequest, ended: Iterable[Row]) -> None:
        named = [Session(handle=row.handle, description=row.description) for row in ended]
        if named:
            # Any iterable of instances will do; there is no queryset of what is in no table.
            self.log_deletions(request, named)  # type: ignore[arg-type]

    # What the pages show -----------------------------------------------------------------------------

    def _of_list(self, request: HttpRequest, question: Question, found: Listing) -> dict[str, Any]:
        may_end = self.may_end(request)
        asked = {"q": question.text, "user": question.user_id, "who": question.who}
        return {
            "is_list": True,
            "rows": found.rows,
            "may_end": may_end,
            "question": question,
            "seen": found.seen,
            "choices": [
                (name, self._list_url(**{**asked, "who": who}), who == question.who)
                for who, name in WHO_NAMES
            ],
            "people": [
                {
                    "name": user_id if user is None else user.get_username(),
                    "is_gone": user is None,
                    "url": self._user_url(request, user),
                    "end_url": (
                        f"{self._url('end')}?{urlencode({'user': user_id})}"
                        if may_end and found.seen is None
                        else None
                    ),
                }
                for user_id, user in found.users.items()
            ],
            "next_url": found.next and self._list_url(**asked, cursor=found.next, seen=found.seen),
            "first_url": self._list_url(**asked) if question.cursor else None,
            "list_url": self._list_url(),
            "end_path": self._url("end"),
            "checkbox_name": ACTION_CHECKBOX_NAME,
        }

    def _of_overview(self) -> dict[str, Any]:
        statistics = self._figures.statistics()
        return {
            "statistics": statistics,
            "census": statistics.census,
            "usual_size": statistics.census.size_at(0.5),
            "bars": overview.bars(statistics.census),
            "picture": {"width": overview.PICTURE_WIDTH, "height": overview.height()},
        }

    def _render(
        self,
        request: HttpRequest,
        template: Any,
        title: str,
        context: dict[str, Any],
        status: int = 200,
        subtitle: str = "",
    ) -> HttpResponse:
        """A page, made here and now: what its context processors ask of Redis may fail as well."""
        # As the admin's own pages have it: links lead to the same site.
        request.current_app = self.admin_site.name
        full = {
            **self.admin_site.each_context(request),
            "title": title,
            "subtitle": subtitle or None,
            "opts": self.opts,
            # Django 6.1 has made a list of them.
            "has_breadcrumb_list": django.VERSION >= (6, 1),
            **context,
        }
        return render(request, template, full, status=status)

    def _row(self, request: HttpRequest, handle: str) -> Row | None:
        info = sessions.get(handle)
        return None if info is None else listing.rows([info], _own_handle(request))[0]

    def _gone(self, request: HttpRequest, handle: str) -> HttpResponseRedirect:
        self.message_user(
            request,
            _("There is no session %(handle)s. It may have ended.") % {"handle": f"“{handle[:40]}”"},
            messages.WARNING,
        )
        return self._to_list()

    def _user_url(self, request: HttpRequest, user: Any) -> str | None:
        """The user's own page in this admin, for those who may see it."""
        model = get_user_model()
        if user is None or not self.admin_site.is_registered(model):
            return None
        if not self.admin_site.get_model_admin(model).has_view_permission(request, user):
            return None
        name = f"{self.admin_site.name}:{model._meta.app_label}_{model._meta.model_name}_change"
        return reverse(name, args=[quote(people.id_of(user))])

    def _url(self, page: str, *args: str) -> str:
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=args)

    def _list_url(self, **asked: Any) -> str:
        query = urlencode({name: value for name, value in asked.items() if value})
        return f"{self._url('changelist')}?{query}" if query else self._url("changelist")

    def _to_list(self) -> HttpResponseRedirect:
        return HttpResponseRedirect(self._list_url())

    def _require(self, permission: bool) -> None:
        if not permission:
            raise PermissionDenied


def _own_handle(request: HttpRequest) -> str | None:
    return handle_of(request.session) or None
