"""Which preset dictionaries may a record have been compressed with?

A preset dictionary is text that both sides know, so that a short session need not carry it.
Frozen and numbered: a record names its dictionary by number for as long as it lives, so a
published entry is never edited; a better one gets the next number (tests pin each by digest).
Numbers from 128 are left to dictionaries that a project trains on its own sessions. Such a one is
a file of the project, that says of itself what it is, ``>`` big-endian::

    0   magic       89 52 53 44 0D 0A 00 01; the last byte is the version of this format
    8   number      128 to 255
    9   checksum    CRC-32 of the text, begun with the number: finds accidents, stops nobody
    13  text        what records may refer to, 16 KiB at most

The magic has a byte that is no text and both kinds of line ends, so no tool takes the file for
text, and one that does it all the same damages it visibly.

Deflate reaches nearer text with fewer bits, so what nearly every session holds stands last.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field

from django_redis_sessions.errors import SessionStoreMisconfigured

#: The numbers that a project's own dictionaries may have.
SMALLEST_NUMBER, LARGEST_NUMBER = 128, 255
#: More bytes than these are refused: together with a session they would not fit into deflate's window.
LARGEST_TEXT = 16 * 1024

_MAGIC = b"\x89RSD\r\n\0\1"
_FILE_HEADER = struct.Struct(">8sBI")

_FIRST = (
    # Rare things first: words of shops, wizards and single sign-on.
    b'"utm_source":"google","utm_medium":"cpc","utm_campaign":"newsletter","referrer":"https://www.'
    b'"oidc_id_token_expiration":"oidc_access_token":"oidc_id_token":"oidc_states":{"oidc_login_next":'
    b'"saml_session":"_saml2_authn":"impersonate":"hijack_history":["otp_device_id":"otp_totp.totpdevice/1"'
    b'"social_auth_last_login_backend":"google-oauth2","google-oauth2_state":"partial_pipeline_token":"'
    b'"socialaccount_states":{"socialaccount_sociallogin":{"account":{"provider":"github","uid":"'
    b'"email_addresses":[{"email":"@gmail.com","@example.com","verified":true,"primary":true}],"token":{'
    b'"access_token":"refresh_token":"token_secret":"expires_at":"id_token":"state":{"phone":"address":{'
    b'"street":"city":"country":"postal_code":"first_name":"last_name":"company":"description":"title":"'
    b'"wizard_checkout_wizard":{"step":"step_data":{"step_files":{},"extra_data":{"csrfmiddlewaretoken":["'
    b'"shipping_method":"payment_method":"shipping_address_id":"billing_address_id":"order_id":"voucher":"'
    b'"recently_viewed":["favorites":[],"filters":{"status":"active","sort":"-created","order_by":"name",'
    b'"query":"search":"page":1,"per_page":25,"view":"list","category":"color":"size":"image":"url":"slug":"'
    b'"last_activity":"last_seen":"created_at":"updated_at":"login_time":"timestamp":"date":"2026-01-01T'
    b'"tenant_id":"organization_id":"account_id":"customer_id":"project_id":"workspace":"role":"admin",'
    b'"permissions":["theme":"dark","timezone":"Europe/Berlin","django_timezone":"America/New_York",'
    b'"currency":"EUR","USD","language":"_language":"en-us","de","fr","es","locale":"en_US","country":"US",'
    b'"cart":{"items":[{"product_id":1,"id":1,"sku":"name":"quantity":1,"qty":1,"price":"9.99","price":"19.90",'
    b'"total":"0.00","subtotal":"count":0,"discount":null,"updated":"}],"cart_id":"basket":{"1":2,"2":1}},'
    b'"messages":[],"notice":"error":"success":"user_id":"username":"email":"next":"/accounts/login/?next=/",'
    b'"_messages":"[[\\"__json_message\\",0,25,\\"Successfully signed in as .\\",\\"\\"]]",'
    b'"[[\\"__json_message\\",0,20,\\"You have signed out.\\"]]","testcookie":"worked",'
    b'"_password_reset_token":"set-password","account_verified_email":null,"account_user":"1",'
    b'"account_login":{"account_authentication_methods":[{"method":"socialaccount","provider":"google","uid":"'
    b'"account_authentication_methods":[{"method":"password","at":17,"email":"@example.org","username":"'
    b"0123456789abcdef-4000-8000-000000000000"
    b"+00:00T00:00:00.000000Z"
    b'null,true,false,[],{},"",0,1,"},{"],["}]},'
    b'"_csrftoken":"'
    b'"_session_expiry":1209600,"_session_expiry":0,"_session_expiry":"2026-12-01T00:00:00+00:00"'
    b'"_auth_user_backend":"allauth.account.auth_backends.AuthenticationBackend",'
    b'{"_auth_user_id":"1","_auth_user_backend":"django.contrib.auth.backends.ModelBackend",'
    b'"_auth_user_hash":"'
)

_SECOND = (
    # The devices of signed-in sessions (``devices``); a session has one, so they stand first.
    b" OPR/120.0.0.0 SamsungBrowser/28.0 Chrome/130.0 CriOS/140.0. FxiOS/140.0 Mobile/15E148 GSA/"
    b'","agent":"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/'
    b'","agent":"Mozilla/5.0 (Android 16; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0"}'
    b'","agent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 Firefox/140.0"}'
    b'","agent":"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}'
    b'","agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/'
    b'","agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"}'
    b'","agent":"Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/'
    b'","agent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)'
    b' Version/26.0 Safari/605.1.15"}'
    b'","agent":"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko)'
    b' Chrome/140.0.0.0 Mobile Safari/537.36"}'
    b'","agent":"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15'
    b' (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1"}'
    b'","agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)'
    b' Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0"}' + _FIRST + b'","_session_device":{"address":"'
    # The digits of the hash are taken out before, so this goes on where the first one ends.
)

#: ``{number: text}``; a record's header holds the number.
DICTIONARIES: dict[int, bytes] = {1: _FIRST, 2: _SECOND}

#: The dictionary that new records are compressed with.
NEWEST = 2


@dataclass(frozen=True, slots=True)
class Dictionary:
    """A project's own dictionary; its ``checksum`` tells it from others of its number."""

    number: int
    text: bytes
    checksum: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not SMALLEST_NUMBER <= self.number <= LARGEST_NUMBER:
            raise ValueError(f"its number is {self.number}, but must be {_NUMBERS}")
        if not 0 < len(self.text) <= LARGEST_TEXT:
            raise ValueError(f"it holds {len(self.text)} bytes, but must hold 1 to {LARGEST_TEXT}")
        object.__setattr__(self, "checksum", zlib.crc32(self.text, self.number))

    def dumped(self) -> bytes:
        """The bytes of its file."""
        return _FILE_HEADER.pack(_MAGIC, self.number, self.checksum) + self.text


_NUMBERS = f"from {SMALLEST_NUMBER} to {LARGEST_NUMBER}"


def parsed(content: bytes) -> Dictionary:
    """The dictionary in the bytes of its file; ``ValueError`` finishes a sentence about what they are instead."""
    if len(content) < _FILE_HEADER.size or content[: len(_MAGIC) - 1] != _MAGIC[:-1]:
        raise ValueError("it is no dictionary file")
    magic, number, checksum = _FILE_HEADER.unpack_from(content)
    if magic != _MAGIC:
        raise ValueError("it is in a newer format than this version knows")
    dictionary = Dictionary(number, content[_FILE_HEADER.size :])
    if dictionary.checksum != checksum:
        raise ValueError("it is damaged: its checksum does not fit")
    return dictionary


def number_after(taken: Collection[int]) -> int:
    """The number for a project's next dictionary; ``SessionStoreMisconfigured`` when all have been used."""
    number = max(taken, default=SMALLEST_NUMBER - 1) + 1
    if number > LARGEST_NUMBER:
        raise SessionStoreMisconfigured(
            f"The project names a dictionary number {LARGEST_NUMBER}, after which there is none. "
            f"Choose one that no stored record needs any more."
        )
    return number
