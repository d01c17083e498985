"""Which users are meant, with Django's user model and with projects' own."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import User
from django.db import connection, models

from django_redis_sessions import people


class Member(AbstractBaseUser):
    """Known by a UUID, without an e-mail address."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    number = models.IntegerField(unique=True)

    USERNAME_FIELD = "number"

    class Meta:
        app_label = "tests"


class Premium(Member):
    """Its primary key is a relation."""

    class Meta:
        app_label = "tests"


class Named(AbstractBaseUser):
    """Known by a text."""

    name = models.CharField(primary_key=True, max_length=20)

    USERNAME_FIELD = "name"

    class Meta:
        app_label = "tests"


class Lettered(AbstractBaseUser):
    """Neither its key nor its name can be just any text."""

    letter_id = models.AutoField(primary_key=True)
    number = models.IntegerField(unique=True)

    USERNAME_FIELD = "number"

    class Meta:
        app_label = "tests"


@pytest.fixture
def use(monkeypatch, transactional_db):
    """``use(Model, …)``: the project's user model is the first, and all of them have tables."""
    made = []

    def make(*wanted):
        with connection.schema_editor() as editor:
            for model in reversed(wanted):
                editor.create_model(model)
                made.append(model)
        monkeypatch.setattr(people, "get_user_model", lambda: wanted[0])

    yield make
    with connection.schema_editor() as editor:
        for model in reversed(made):
            editor.delete_model(model)


class TestAUuid:
    @pytest.fixture(autouse=True)
    def known(self, use):
        use(Member)
        self.member = Member.objects.create(number=7)

    def test_is_found_however_it_is_written(self):
        key = self.member.pk
        for text in (str(key), key.hex, str(key).upper(), f"{{{key}}}"):
            assert people.matching(text) == {str(key): self.member}
        assert people.named([str(key), str(uuid.uuid4()), "no uuid"]) == {str(key): self.member}

    def test_of_nobody_may_be_that_of_a_deleted_user(self):
        gone = uuid.uuid4()
        assert people.matching(gone.hex) == {str(gone): None}

    def test_is_not_needed_where_the_name_is_known(self):
        assert people.matching("7") == {str(self.member.pk): self.member}
        assert people.matching("seven") == {}


class TestAKeyThatIsARelation:
    def test_is_spelt_like_what_it_leads_to(self, use):
        use(Premium, Member)
        premium = Premium.objects.create(number=7)
        assert people.id_of(premium) == str(premium.id)
        assert people.matching(premium.id.hex) == {str(premium.id): premium}
        assert people.named([str(premium.id)]) == {str(premium.id): premium}


class TestAText:
    def test_is_any_text_that_fits(self, use):
        use(Named)
        ann = Named.objects.create(name="Ann /?")
        assert people.matching("Ann /?") == people.named(["Ann /?"]) == {"Ann /?": ann}
        assert people.matching("Bob") == {"Bob": None}
        assert people.matching("x" * 100) == {}


class TestANumber:
    def test_is_the_only_thing_that_can_be_asked_for(self, use, django_assert_num_queries):
        use(Lettered)
        with django_assert_num_queries(0):
            assert people.matching("nobody") == {}

    @pytest.mark.django_db
    @pytest.mark.parametrize("text", ["", "x", "9" * 400, "9" * 20, "1.5", "\ud800", "١٢٣x"])
    def test_that_no_user_can_have_is_nobody(self, text):
        assert people.named([text]) == {}

    @pytest.mark.django_db
    def test_and_a_name_can_mean_two_people(self):
        first = User.objects.create_user("first")
        second = User.objects.create_user(str(first.pk))
        assert people.matching(str(first.pk)) == {str(first.pk): first, str(second.pk): second}

    @pytest.mark.django_db
    def test_of_addresses_that_people_share_is_limited(self):
        for number in range(people.MOST_MATCHES + 5):
            User.objects.create_user(f"user{number}", "shared@example.com")
        assert len(people.matching("shared@example.com")) == people.MOST_MATCHES
