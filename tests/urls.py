"""Views for the tests that go through Django's whole request."""

from django.contrib.auth import (
    aauthenticate,
    alogin,
    authenticate,
    login,
    logout,
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


urlpatterns = [
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
