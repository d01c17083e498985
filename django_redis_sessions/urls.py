"""Under which addresses does a person meet the own sessions?

``path("account/devices/", include("django_redis_sessions.urls"))``
"""

from __future__ import annotations

from django.urls import path

from django_redis_sessions import views

app_name = "django_redis_sessions"
urlpatterns = [
    path("", views.devices, name="devices"),
    path("sign-out/", views.sign_out_device, name="sign-out-device"),
    path("sign-out-others/", views.sign_out_other_devices, name="sign-out-other-devices"),
]
