"""Which page is found where?"""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path
from shop import async_views, views

urlpatterns = [
    path("", views.shop, name="shop"),
    path("cart/", views.cart, name="cart"),
    path("cart/add/", views.add_to_cart, name="add-to-cart"),
    path("cart/change/", views.change_amount, name="change-amount"),
    path("cart/empty/", views.empty_cart, name="empty-cart"),
    path("session/", views.session, name="session"),
    path("session/end/", views.choose_end, name="choose-end"),
    path("session/flush/", views.flush, name="flush"),
    path("async/", async_views.session, name="async-session"),
    path("async/add/", async_views.add_to_cart, name="async-add-to-cart"),
    path("async/end/", async_views.choose_end, name="async-choose-end"),
    path("async/flush/", async_views.flush, name="async-flush"),
    path("api/session/", async_views.session_as_json, name="api-session"),
    path("login/", LoginView.as_view(template_name="shop/login.html"), name="login"),
    path("logout/", LogoutView.as_view(template_name="shop/logged_out.html"), name="logout"),
    path("account/devices/", include("django_redis_sessions.urls")),
    path("admin/", admin.site.urls),
    # runserver serves static files by itself; gunicorn and uvicorn need these. Empty unless DEBUG is on.
    *staticfiles_urlpatterns(),
]
