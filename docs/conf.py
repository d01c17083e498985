"""How is the documentation built? ``make docs``; every warning is an error, nothing is fetched."""

from django_redis_sessions import __version__

project = "django-redis-sessionstore"
author = "The django-redis-sessionstore maintainers"
copyright = "2026, the django-redis-sessionstore maintainers"
release = __version__
version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

html_theme = "furo"
html_title = "django-redis-sessionstore"
html_copy_source = False
