"""Views for the tests that go through Django's whole request."""

from django.contrib.auth import (
    aauthenticate,
    alogin,
    aupdate_session_auth_hash,
    authenticate,
    get_user_model,
    login,
    logout,
    update_session_auth_hash,
)
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path


def read(request: HttpRequest) -> JsonResponse:
    return JsonResponse(dict(request.session.items()))


def write(request: HttpRequest) -> HttpResponse:
    request.session.update(request.GET.dict())
    return HttpResponse("written")


def untouched(request: HttpRequest) -> HttpResponse:
    return HttpResponse("untouched")


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username())


def sign_in(request: HttpRequest) -> HttpResponse:
    login(request, authenticate(username="alice", password="wonderland"))
    return HttpResponse("signed in")


def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse("signed out")


async def aread(request: HttpRequest) -> JsonResponse:
    return JsonResponse(dict(await request.session.aitems()))


async def awrite(request: HttpRequest) -> HttpResponse:
    await request.session.aupdate(request.GET.dict())
    return HttpResponse("written")


async def asign_in(request: HttpRequest) -> HttpResponse:
    await alogin(request, await aauthenticate(username="alice", password="wonderland"))
    return HttpResponse("signed in")


def change_password(request: HttpRequest) -> HttpResponse:
    name = request.GET.get("user", request.user.get_username())
    user = get_user_model().objects.get(username=name)
    user.set_password("looking-glass")
    user.save()
    if user == request.user:
        update_session_auth_hash(request, user)
    return HttpResponse("changed")


async def achange_password(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    user.set_password("looking-glass")
    await user.asave()
    request.user = user  # Django 5.2 would look for it with a query that blocks
    await aupdate_session_auth_hash(request, user)
    return HttpResponse("changed")


def reset_password(request: HttpRequest) -> HttpResponse:
    request.session["token"] = "used"
    user = get_user_model().objects.get(username="alice")
    user.set_password("looking-glass")
    user.save()
    login(request, user, "django.contrib.auth.backends.ModelBackend")
    return HttpResponse("reset")


urlpatterns = [
    path("change-password/", change_password),
    path("achange-password/", achange_password),
    path("reset-password/", reset_password),
    path("read/", read),
    path("write/", write),
    path("untouched/", untouched),
    path("who/", who),
    path("sign-in/", sign_in),
    path("sign-out/", sign_out),
    path("aread/", aread),
    path("awrite/", awrite),
    path("asign-in/", asign_in),
]
